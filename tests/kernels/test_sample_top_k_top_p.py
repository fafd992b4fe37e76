"""Sampling without a sort draws what sorting draws."""

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.launch import launch
from kernels.sample_top_k_top_p import kernel, reference
from kernels.sample_top_k_top_p.plugin import SAMPLE_TOP_K_TOP_P, constants
from tests.kernels.tensors import REPEATABLE, Source, seeds

ROUNDING = 1e-5


def check(
    kernel: Any, seed: int, vocabulary: int, temperature: float, top_k: int, top_p: float, digits: int, gap: int
) -> None:
    """Three rows of logits, rounded so that some are equal; sums may round either way at a boundary, in float32."""
    source, rows = Source(seed), 3
    logits = source.spread(rows, vocabulary, kind="fp32", gap=gap)
    logits.copy_(torch.round(logits * 3, decimals=digits))
    uniform = torch.from_numpy(source.numbers.random(rows, np.float32))
    inputs = {
        "logits": logits,
        "temperature": torch.full((rows,), temperature),
        "top_k": torch.full((rows,), top_k, dtype=torch.int32),
        "top_p": torch.full((rows,), top_p),
        "uniform": uniform,
    }
    fixed = {**constants(vocabulary, vocabulary + gap), "BLOCK": 64}
    (found,) = launch(SAMPLE_TOP_K_TOP_P, inputs, fixed, "fp32", kernel=kernel.sample_top_k_top_p)
    for row in range(rows):
        likely = {
            reference.sample_top_k_top_p(logits[row].numpy(), temperature, top_k, top_p + p, float(uniform[row]) + u)
            for p in (-ROUNDING, 0, ROUNDING)
            for u in (-ROUNDING, 0, ROUNDING)
        }
        assert int(found[row]) in likely


@REPEATABLE
@given(
    seeds,
    st.integers(1, 150),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([0, 1, 2, 10, 500]),
    st.sampled_from([0.01, 0.5, 0.9, 1.0]),
    st.sampled_from([0, 1, 4]),
    st.integers(0, 3),
)
def test_agrees_with_the_reference(
    seed: int, vocabulary: int, temperature: float, top_k: int, top_p: float, digits: int, gap: int
) -> None:
    """Greedy and drawn, with and without top-k and top-p, many equal logits, vocabularies of any size."""
    check(kernel, seed, vocabulary, temperature, top_k, top_p, digits, gap)


def check_ties(kernel: Any) -> None:
    """Rows of equal largest logits, in both of two blocks: greedy takes the first, top-2 draws of the first two."""
    rows, vocabulary = 8, 128
    for largest in (2.0, 6.0):
        logits = torch.zeros(rows, vocabulary)
        logits[:, 10:20] = logits[:, 74:84] = largest
        for temperature in (0.0, 1.0):
            inputs = {
                "logits": logits,
                "temperature": torch.full((rows,), temperature),
                "top_k": torch.full((rows,), 2, dtype=torch.int32),
                "top_p": torch.ones(rows),
                "uniform": torch.linspace(0.05, 0.95, rows),
            }
            fixed = {**constants(vocabulary), "BLOCK": 64}
            (found,) = launch(SAMPLE_TOP_K_TOP_P, inputs, fixed, "fp32", kernel=kernel.sample_top_k_top_p)
            assert found.tolist() == ([10] * 4 + [11] * 4 if temperature else [10] * 8)


def test_of_equals_the_first_are_kept() -> None:
    """Whatever block they stand in, as the reference and the executor keep them."""
    check_ties(kernel)


def test_the_reference_keeps_what_the_executor_keeps() -> None:
    """The executor's own sampler and this reference keep the same tokens of the same logits."""
    from services.executor.sampling import candidates

    numbers = np.random.default_rng(3)
    for top_k, top_p in [(5, 0.9), (40, 0.5), (3, 1.0), (7, 0.01)]:
        logits = np.round(numbers.normal(size=100).astype(np.float32) * 3, 1)
        tokens, _ = candidates(logits, 0.7, top_k, top_p)
        assert sorted(tokens.tolist()) == reference.kept_tokens(logits, 0.7, top_k, top_p)[0].tolist()
