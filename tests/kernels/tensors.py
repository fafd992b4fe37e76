"""Random tensors of a kernel's types, with gaps between rows where asked, and what a result may differ by."""

from typing import Any

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st

from kernels.launch import TORCH_TYPES

REPEATABLE = settings.get_profile("kernels")
TYPES = ("fp32", "fp16", "bf16")
TOLERANCES = {"fp32": 2e-5, "fp16": 4e-3, "bf16": 3e-2}

types = st.sampled_from(TYPES)
seeds = st.integers(0, 2**32 - 1)


class Source:
    """Draws tensors from one seed."""

    def __init__(self, seed: int) -> None:
        self.numbers = np.random.default_rng(seed)

    def normal(self, *shape: int, kind: str = "fp32") -> torch.Tensor:
        """Standard normal."""
        return torch.from_numpy(self.numbers.normal(size=shape)).to(TORCH_TYPES[kind])

    def spread(self, *shape: int, kind: str, gap: int) -> torch.Tensor:
        """Standard normal, of which rows lie `gap` elements further apart; what lies between is not a number."""
        wide = torch.full((*shape[:-1], shape[-1] + gap), float("nan"), dtype=TORCH_TYPES[kind])
        wide[..., : shape[-1]] = self.normal(*shape, kind=kind)
        return wide[..., : shape[-1]]

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """From `low` up to and with `high`."""
        return torch.from_numpy(self.numbers.integers(low, high, shape, endpoint=True).astype(np.int32))

    def pages(self, rows: int, pages: int, spare: int) -> torch.Tensor:
        """A table of different pages out of a few more than are needed, in any order."""
        order = self.numbers.permutation(rows * pages + spare)[: rows * pages]
        return torch.from_numpy(order.reshape(rows, pages).astype(np.int32))


def exact(tensor: torch.Tensor) -> Any:
    """The values in float64, or as integers."""
    return tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy()


def assert_close(found: torch.Tensor, expected: Any, kind: str) -> None:
    """Within the type's tolerance, of 1 or of the value, whichever is larger; never NaN."""
    np.testing.assert_allclose(exact(found), expected, rtol=TOLERANCES[kind], atol=TOLERANCES[kind])
