"""A TensorRT network as it grows: what the emitter asks for, in layers; TensorRT itself is handed in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.contract import Constants, Contract
from kernels.tensorrt_plugins import build_field

TYPES = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16", "i32": "INT32", "i64": "INT64"}
STORED = {"fp32": np.float32, "fp16": np.float16, "i32": np.int32, "i64": np.int64}


class TensorRtGraph:
    """Layers by name of what they do. Constants stay here until the network is built, for TensorRT copies none.

    Args:
        trt: the module `tensorrt`.
        network: a strongly typed INetworkDefinition.
        plugins: `tensorrt.plugin.op.fulcrum`.
        activation: "bf16", "fp16" or "fp32", the type of activations.
        architecture: compute capability that plugins are compiled for, 90 for 9.0.
    """

    def __init__(self, trt: Any, network: Any, plugins: Any, activation: str, architecture: int) -> None:
        self.trt = trt
        self._network = network
        self._plugins = plugins
        self.activation = activation
        self.architecture = architecture
        self._kept: list[Any] = []
        self._inputs: dict[str, Any] = {}

    def input(self, name: str, kind: str, shape: Sequence[int]) -> Any:
        """A network input; -1 is a size that varies. Equal names are one input."""
        if name not in self._inputs:
            self._inputs[name] = self._network.add_input(name, self._type(kind), tuple(shape))
        return self._inputs[name]

    def output(self, value: Any, name: str) -> None:
        """Marks a network output under `name`."""
        value.name = name
        self._network.mark_output(value)

    def constant(self, value: NDArray[Any], kind: str | None = None) -> Any:
        """A constant of type `kind`, the activations' where it is not given."""
        chosen = kind or self.activation
        stored = np.ascontiguousarray(_bfloat16(value) if chosen == "bf16" else value.astype(STORED[chosen]))
        weights = self.trt.Weights(self._type(chosen), stored.ctypes.data, stored.size)
        self._kept += [stored, weights]
        return self.layer("add_constant", value.shape, weights)  # not its own: a scalar was given an axis

    def integers(self, values: Sequence[int], kind: str = "i32") -> Any:
        """A constant row of whole numbers."""
        return self.constant(np.array(values), kind)

    def layer(self, method: str, *arguments: Any, **attributes: Any) -> Any:
        """The first output of the layer that a method of INetworkDefinition adds, its attributes set."""
        added = getattr(self._network, method)(*arguments)
        if added is None:
            raise ValueError(f"TensorRT refuses {method} with {attributes}")
        for name, value in attributes.items():
            setattr(added, name, value)
        return added.get_output(0)

    def plugin(self, contract: Contract, constants: Constants, *inputs: Any) -> list[Any]:
        """All outputs of one of our plugins, by its ahead-of-time kernel."""
        build = build_field(constants, self.activation, self.architecture)
        definition = getattr(self._plugins, contract.name)
        added = self._network.add_plugin(definition(*inputs, build=build), True)
        return [added.get_output(place) for place in range(len(contract.outputs))]

    def binary(self, operation: str, first: Any, second: Any) -> Any:
        """An element-wise operation of two tensors of one rank."""
        return self.layer("add_elementwise", first, second, getattr(self.trt.ElementWiseOperation, operation))

    def unary(self, operation: str, value: Any) -> Any:
        """An element-wise operation."""
        return self.layer("add_unary", value, getattr(self.trt.UnaryOperation, operation))

    def activate(self, kind: str, value: Any) -> Any:
        """An activation function."""
        return self.layer("add_activation", value, getattr(self.trt.ActivationType, kind))

    def reduce(self, operation: str, value: Any, axis: int) -> Any:
        """A reduction over one axis, which stays with size 1."""
        return self.layer("add_reduce", value, getattr(self.trt.ReduceOperation, operation), 1 << axis, True)

    def cast(self, value: Any, kind: str) -> Any:
        """The same values in another type."""
        return self.layer("add_cast", value, self._type(kind))

    def rms_norm(self, value: Any, weight: NDArray[np.float32], epsilon: float) -> Any:
        """Over the last axis, in float32, operator by operator."""
        ones = (1,) * (len(value.shape) - 1)
        wide = self.cast(value, "fp32")
        mean = self.reduce("AVG", self.binary("PROD", wide, wide), axis=len(ones))
        root = self.unary("SQRT", self.binary("SUM", mean, self.constant(np.full((*ones, 1), epsilon), "fp32")))
        normed = self.cast(self.binary("DIV", wide, root), self.activation)
        return self.binary("PROD", normed, self.constant(weight.reshape(*ones, -1)))

    def product(self, first: Any, second: Any, transposed: bool) -> Any:
        """A matrix product, of the second's transpose where asked."""
        plain, turned = self.trt.MatrixOperation.NONE, self.trt.MatrixOperation.TRANSPOSE
        return self.layer("add_matrix_multiply", first, plain, second, turned if transposed else plain)

    def quantised(self, value: Any, scale: Any, kind: str, **attributes: Any) -> Any:
        """`value` rounded to INT8, FP8 or INT4 and back, explicitly, so that TensorRT fuses it into what follows."""
        small = self.layer("add_quantize", value, scale, getattr(self.trt.DataType, kind), **attributes)
        return self.layer("add_dequantize", small, scale, self._type(self.activation), **attributes)

    def reshape(self, value: Any, dims: Sequence[int]) -> Any:
        """Another shape; one size may be -1."""
        return self.layer("add_shuffle", value, reshape_dims=tuple(dims))

    def reshape_to(self, value: Any, shape: Any) -> Any:
        """The shape that a shape tensor holds."""
        added = self._network.add_shuffle(value)
        added.set_input(1, shape)
        return added.get_output(0)

    def transpose(self, value: Any, order: Sequence[int]) -> Any:
        """The axes in another order."""
        return self.layer("add_shuffle", value, first_transpose=tuple(order))

    def slice(self, value: Any, start: Sequence[int], shape: Any) -> Any:
        """What begins at `start` and has the shape that a shape tensor holds."""
        ones = (1,) * len(start)
        added = self._network.add_slice(value, tuple(start), ones, ones)
        added.set_input(2, shape)
        return added.get_output(0)

    def shape_of(self, value: Any) -> Any:
        """A shape tensor."""
        return self.layer("add_shape", value)

    def dimension(self, value: Any, axis: int) -> Any:
        """One size, as a shape tensor of one number."""
        return self.layer("add_gather", self.shape_of(value), self.integers([axis]), 0)

    def places(self, value: Any) -> tuple[Any, Any]:
        """The first two sizes: rows and positions."""
        return self.dimension(value, 0), self.dimension(value, 1)

    def columns(self, value: Any, start: int, width: int) -> Any:
        """Some features of `[rows, positions, features]`."""
        return self.slice(value, (0, 0, start), self.joined(*self.places(value), width))

    def by_head(self, value: Any, heads: int, size: int) -> Any:
        """`[rows, positions, heads * size]` as `[rows, heads, positions, size]`."""
        split = self.reshape_to(value, self.joined(*self.places(value), heads, size))
        return self.transpose(split, (0, 2, 1, 3))

    def joined(self, *sizes: Any) -> Any:
        """One shape tensor of several and of numbers."""
        parts = [self.integers([size], "i64") if isinstance(size, int) else size for size in sizes]
        return self.layer("add_concatenation", parts)

    def condition(self, size: Any, equals: int) -> Any:
        """An if that holds where a size, a shape tensor of one number, has a value."""
        held = self.binary("EQUAL", size, self.integers([equals], "i64"))
        branch = self._network.add_if_conditional()
        branch.set_condition(self.reshape(held, []))
        return branch

    def _type(self, kind: str) -> Any:
        return getattr(self.trt.DataType, TYPES[kind])


def _bfloat16(values: NDArray[Any]) -> NDArray[np.uint16]:
    """The upper halves of float32, rounded to the nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
