"""What `benchmarks.gpu` measures of each operator: inputs, our kernels, the float64 reference, the same in torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from kernels.contract import Constants, Contract
from kernels.launch import TORCH_TYPES
from kernels.specimens import Specimen, specimen
from kernels.tuning import Configuration

Inputs = Mapping[str, Any]
Launcher = Callable[[Specimen, Inputs], Sequence[Any]]


@dataclass(frozen=True)
class Sizes:
    """Of a decoder, of its batch, and of an encoder's batch and index.

    `ragged` rows have lengths, pages and masks of their own; torch's side takes equal ones alone.
    """

    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    hidden: int = 4096
    outputs: int = 14336
    group: int = 128
    vocabulary: int = 128256
    page_size: int = 8192
    pages: int = 1
    held: int = 4096
    rows: int = 8
    positions: int = 1
    texts: int = 256
    words: int = 128
    features: int = 384
    vectors: int = 1_000_000
    queries: int = 1
    k: int = 16
    ragged: bool = False


@dataclass(frozen=True)
class Target:
    """Where cases run: compute capability, Triton's name of the activations' type, torch's of the device.

    `tried` are configurations by kernel that take the place of those in `tuning.toml`.
    """

    architecture: int
    activation: str
    device: str
    tried: Mapping[str, Configuration] = field(default_factory=dict)

    def random(self, *shape: int, like: Any = None) -> Any:
        """Standard normal, of the activations' type unless another is given."""
        return torch.randn(shape, device=self.device).to(like or TORCH_TYPES[self.activation])

    def whole(self, low: int, high: int, *shape: int) -> Any:
        """int32 from `low` up to and with `high`."""
        return torch.randint(low, high + 1, shape, device=self.device, dtype=torch.int32)

    def all_of(self, value: int, *shape: int) -> Any:
        """int32, all equal."""
        return torch.full(shape, value, device=self.device, dtype=torch.int32)

    def kernel(self, contract: Contract, constants: Constants) -> Specimen:
        """The kernel with what is tuned for the architecture, or tried."""
        chosen = specimen(contract, constants, self.activation, self.architecture)
        if contract.name not in self.tried:
            return chosen
        other = self.tried[contract.name]
        return replace(chosen, constants={**chosen.constants, **other.constants}, configuration=other)


@dataclass(frozen=True)
class Case:
    """One operator at one shape; `run`, `reference` and `plain` give all outputs, memory changed in place included.

    `run` takes a launcher, and as many kernels as the operator has; `reference` takes float64 and integer arrays.
    """

    name: str
    inputs: Inputs
    run: Callable[[Launcher, Inputs], Sequence[Any]]
    reference: Callable[[Inputs], Sequence[Any]]
    plain: Callable[[Inputs], Sequence[Any]]
    moved_bytes: int
    least_share: float | None
