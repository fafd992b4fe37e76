"""Rotary position embeddings: the angles of a model's configuration, scaled for long contexts as its family does."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.executor.models.config_reader import ConfigReader

KINDS = ("default", "linear", "llama3", "yarn")
LARGEST_THETA = 1e15
LARGEST_FACTOR = 1e6
LARGEST_POSITIONS = 4_194_304


@dataclass(frozen=True)
class Rotary:
    """Frequencies `[head_dim / 2]` in radians a position, and a factor on cosines and sines.

    Angles lie in the half-split layout (Su et al. 2021, laid out as Hugging Face does).
    """

    frequencies: tuple[float, ...]
    magnitude: float = 1.0

    def tables(self, positions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Cosines and sines `[positions, head_dim / 2]`."""
        angles = np.outer(np.arange(positions), self.frequencies)
        scaled = self.magnitude * np.cos(angles), self.magnitude * np.sin(angles)
        return scaled[0].astype(np.float32), scaled[1].astype(np.float32)


def read_rotary(config: ConfigReader, head_dim: int, positions: int) -> Rotary:
    """The rotary embedding that `rope_parameters`, or before them `rope_scaling` and `rope_theta`, ask for.

    Args:
        config: the model's configuration.
        head_dim: even width of a head.
        positions: the model's own limit, which counts as the original one where none is given.

    Raises:
        InvalidCheckpoint: a kind that is not among `KINDS`, or a parameter out of its range.
    """
    name = "rope_parameters" if config.has("rope_parameters") else "rope_scaling"
    rope = config.section(name)
    kind = rope.choice("rope_type" if rope.has("rope_type") else "type", KINDS, "default")
    partial = rope if rope.has("partial_rotary_factor") else config
    partial.number("partial_rotary_factor", 1, 1, 1)
    theta = (rope if rope.has("rope_theta") else config).number("rope_theta", 1.5, LARGEST_THETA, 10_000.0)
    frequencies = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    if kind == "default":
        return Rotary(tuple(frequencies.tolist()))
    factor = rope.number("factor", 1, LARGEST_FACTOR)
    if kind == "linear":
        return Rotary(tuple((frequencies / factor).tolist()))
    original = rope.integer("original_max_position_embeddings", 1, LARGEST_POSITIONS, positions)
    if kind == "llama3":
        return Rotary(tuple(_llama3(rope, frequencies, factor, original).tolist()))
    scaled = _yarn(rope, frequencies, factor, original, theta)
    return Rotary(tuple(scaled.tolist()), _yarn_magnitude(rope, factor))


def _llama3(rope: ConfigReader, frequencies: NDArray[np.float64], factor: float, original: int) -> NDArray[np.float64]:
    """Wavelengths beyond the original context are stretched, short ones kept, those between blended (Llama 3.1)."""
    low = rope.number("low_freq_factor", 1e-3, LARGEST_FACTOR)
    high = rope.number("high_freq_factor", 1e-3, LARGEST_FACTOR)
    if high <= low:
        raise rope.refuse("high_freq_factor", f"more than low_freq_factor, {low:g}")
    turns = original * frequencies / (2 * math.pi)
    kept: NDArray[np.float64] = np.clip((turns - low) / (high - low), 0, 1)
    return frequencies * (kept + (1 - kept) / factor)


def _yarn(
    rope: ConfigReader, frequencies: NDArray[np.float64], factor: float, original: int, theta: float
) -> NDArray[np.float64]:
    """Dimensions that turn often are kept, slow ones stretched, with a ramp between (Peng et al. 2023)."""
    half = len(frequencies)
    turns = [rope.number("beta_fast", 1e-3, LARGEST_FACTOR, 32.0), rope.number("beta_slow", 1e-3, LARGEST_FACTOR, 1.0)]
    first, last = (half * math.log(original / (turn * 2 * math.pi)) / math.log(theta) for turn in turns)
    if rope.flag("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * half - 1)
    stretched: NDArray[np.float64] = np.clip((np.arange(half) - first) / ((last - first) or 0.001), 0, 1)
    return frequencies * (1 - stretched + stretched / factor)


def _yarn_magnitude(rope: ConfigReader, factor: float) -> float:
    """What attention is made sharper by: given, or grown with the logarithm of the factor."""
    if rope.has("attention_factor"):
        return rope.number("attention_factor", 1e-3, 1e3)
    both = (rope.number("mscale", 0, 1e3, 0.0), rope.number("mscale_all_dim", 0, 1e3, 0.0))
    if all(both):
        upper, lower = (0.1 * one * math.log(factor) + 1 for one in both)
        return upper / lower
    return 0.1 * math.log(factor) + 1
