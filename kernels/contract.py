"""What the kernels' callers agree on: order, types and shapes of arguments and the grid, once for all of them.

Tests launch by it in the interpreter, `kernels.aot` compiles by it, TensorRT and the CUDA driver launch by it.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Size: TypeAlias = Any  # an int, or TensorRT's symbolic expression of one: + - * // are all that may be used
Dims: TypeAlias = Mapping[str, Sequence[Size]]
Constants: TypeAlias = Mapping[str, Any]

ACTIVATION = "activation"  # stands for the type that a model's activations have


@dataclass(frozen=True)
class Argument:
    """A contiguous tensor in memory; `type` is Triton's name of the elements, or ACTIVATION.

    An output that `aliases` an input lies at the same address: the kernel writes there what it changes.
    """

    name: str
    type: str
    rank: int
    aliases: str | None = None


@dataclass(frozen=True)
class Contract:
    """One kernel as a plugin. Its arguments are inputs, then int32 sizes, then outputs: TensorRT's order.

    Args:
        name: the plugin's, and the function's in `module`.
        module: where the Triton function is.
        inputs, outputs: tensors.
        sizes: names of the int32 arguments.
        constants: what a model fixes; part of the compiled kernel.
        tuned: constants that `tuning.toml` holds for each architecture.
        sizes_of: the int32 arguments from the inputs' shapes.
        shapes_of: the outputs' shapes from the inputs'.
        grid_of: the launch grid, one to three sizes.
        lowest_architecture: compute capability, 90 for 9.0.
    """

    name: str
    module: str
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    constants: tuple[str, ...]
    tuned: tuple[str, ...]
    shapes_of: Callable[[Dims, Constants], Sequence[Sequence[Size]]]
    grid_of: Callable[[Dims, Constants], Sequence[Size]]
    sizes: tuple[str, ...] = ()
    sizes_of: Callable[[Dims, Constants], Sequence[Size]] = lambda dims, constants: ()
    lowest_architecture: int = 80

    def signature(self, activation: str) -> dict[str, str]:
        """Triton's types of all arguments by name, in order, constants last."""
        found = {one.name: f"*{self.element_type(one, activation)}" for one in self.inputs}
        found |= dict.fromkeys(self.sizes, "i32")
        found |= {one.name: f"*{self.element_type(one, activation)}" for one in self.outputs}
        return found | dict.fromkeys((*self.constants, *self.tuned), "constexpr")

    def element_type(self, argument: Argument, activation: str) -> str:
        """Triton's name of an argument's elements."""
        return activation if argument.type == ACTIVATION else argument.type

    def function(self) -> Any:
        """The Triton function; imports Triton."""
        return getattr(importlib.import_module(self.module), self.name)


def ceil_div(size: Size, by: int) -> Size:
    """`size / by` rounded up, for ints and symbolic expressions."""
    return (size + (by - 1)) // by


def next_power_of_two(size: int) -> int:
    """The least power of two that is not below `size`: Triton's blocks have such sizes."""
    return 1 << (size - 1).bit_length()
