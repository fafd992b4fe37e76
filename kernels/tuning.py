"""Reads how a kernel is launched on an architecture: `tuning.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kernels.contract import Contract

ARCHITECTURES = (80, 90, 100, 120)


@dataclass(frozen=True)
class Configuration:
    """Tuned constants of one kernel by name, and how many warps and pipeline stages it gets."""

    constants: Mapping[str, int]
    num_warps: int
    num_stages: int


def configuration(contract: Contract, architecture: int) -> Configuration:
    """How `contract` is launched on a compute capability: as on the last before it that is tuned, 8.9 as 8.0.

    Raises:
        ValueError: the file names other constants than the contract does.
    """
    table = _tables()[contract.name]
    family = max((known for known in ARCHITECTURES if known <= architecture), default=ARCHITECTURES[0])
    found = {**table["default"], **table.get(f"sm_{family}", {})}
    warps, stages = found.pop("num_warps"), found.pop("num_stages")
    if set(found) != set(contract.tuned):
        raise ValueError(f"tuning.toml: {contract.name} has {sorted(found)}, expected {sorted(contract.tuned)}")
    return Configuration(found, warps, stages)


@cache
def _tables() -> dict[str, dict[str, dict[str, int]]]:
    return tomllib.loads((Path(__file__).parent / "tuning.toml").read_text(encoding="utf-8"))
