"""Sampling without a sort draws what sorting draws, from candidates where they are enough and from all logits else."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.launch import launch
from kernels.sample_top_k_top_p import kernel, reference
from kernels.sample_top_k_top_p.plugin import (
    SAMPLE_CANDIDATES,
    SAMPLE_TOP_K_TOP_P,
    candidate_constants,
    draw_constants,
)
from tests.kernels.tensors import REPEATABLE, Source, seeds

ROUNDING = 1e-5
CHUNK, CAP = 64, 8
NAMES = [one.name for one in SAMPLE_CANDIDATES.outputs]


def given_rows(logits: Any, uniform: Any, temperature: float, top_k: int, top_p: float) -> dict[str, Any]:
    """What both kernels take, of all rows the same."""
    rows = len(logits)
    return {
        "logits": logits,
        "temperature": torch.full((rows,), temperature),
        "top_k": torch.full((rows,), top_k, dtype=torch.int32),
        "top_p": torch.full((rows,), top_p),
        "uniform": uniform,
    }


def candidates_of(kernel: Any, inputs: dict[str, Any], cap: int = CAP, chunk: int = CHUNK) -> dict[str, Any]:
    """What the first kernel makes, by name; what it does not write is no number and no token."""
    logits = inputs["logits"]
    fixed = {**candidate_constants(logits.shape[1], logits.stride(0)), "CAP": cap, "BLOCK": chunk}
    shapes = SAMPLE_CANDIDATES.shapes_of({"logits": logits.shape}, fixed)
    kept, _, numbers = (torch.full(shape, float("nan")) for shape in shapes)
    outputs = [kept, torch.full(shapes[1], -7, dtype=torch.int32), numbers]
    launch(SAMPLE_CANDIDATES, inputs, fixed, "fp32", kernel=kernel.sample_candidates, outputs=outputs)
    return dict(zip(NAMES, outputs, strict=True))


def drawn(kernel: Any, inputs: dict[str, Any], made: dict[str, Any] | None = None, cap: int = CAP) -> list[int]:
    """A token a row, by both kernels."""
    logits = inputs["logits"]
    made = made or candidates_of(kernel, inputs, cap)
    fixed = {**draw_constants(logits.shape[1], cap, CHUNK, logits.stride(0)), "BLOCK": 64}
    inputs = {**inputs, **made}
    (found,) = launch(SAMPLE_TOP_K_TOP_P, inputs, fixed, "fp32", kernel=kernel.sample_top_k_top_p)
    return found.tolist()  # type: ignore[no-any-return]


def check(
    kernel: Any, seed: int, vocabulary: int, temperature: float, top_k: int, top_p: float, digits: int, gap: int
) -> None:
    """Three rows of logits, rounded so that some are equal; sums may round either way at a boundary, in float32."""
    source, rows = Source(seed), 3
    logits = source.spread(rows, vocabulary, kind="fp32", gap=gap)
    logits.copy_(torch.round(logits * 3, decimals=digits))
    uniform = torch.from_numpy(source.numbers.random(rows, np.float32))
    found = drawn(kernel, given_rows(logits, uniform, temperature, top_k, top_p))
    for row in range(rows):
        likely = {
            reference.sample_top_k_top_p(logits[row].numpy(), temperature, top_k, top_p + p, float(uniform[row]) + u)
            for p in (-ROUNDING, 0, ROUNDING)
            for u in (-ROUNDING, 0, ROUNDING)
        }
        assert found[row] in likely


@REPEATABLE
@given(
    seeds,
    st.integers(1, 150),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from([0, 1, 2, 8, 10, 500]),
    st.sampled_from([0.01, 0.5, 0.9, 1.0]),
    st.sampled_from([0, 1, 4]),
    st.integers(0, 3),
)
def test_agrees_with_the_reference(
    seed: int, vocabulary: int, temperature: float, top_k: int, top_p: float, digits: int, gap: int
) -> None:
    """Greedy and drawn, with and without top-k and top-p, many equal logits, vocabularies of any size."""
    check(kernel, seed, vocabulary, temperature, top_k, top_p, digits, gap)


def check_candidates(kernel: Any, vocabulary: int, digits: int, gap: int) -> None:
    """Each chunk's first of a stable sort, in order of ids, and its sums; a last chunk may have fewer than CAP."""
    logits = Source(vocabulary).spread(2, vocabulary, kind="fp32", gap=gap)
    logits.copy_(torch.round(logits * 3, decimals=digits))
    inputs = given_rows(logits, torch.zeros(2), 0.7, 0, 1.0)
    made = {name: tensor.numpy() for name, tensor in candidates_of(kernel, inputs).items()}
    for row, values in enumerate(logits.numpy()):
        for place, first in enumerate(range(0, vocabulary, CHUNK)):
            chunk = values[first : first + CHUNK]
            best = np.sort(np.argsort(-chunk, kind="stable")[:CAP])
            behind = CAP - len(best)
            assert made["ids"][row, place].tolist() == [*(first + best), *[-1] * behind]
            assert made["candidates"][row, place].tolist() == [*chunk[best], *[-np.inf] * behind]
            mass = np.exp((chunk.astype(np.float64) - chunk.max()) / 0.7).sum()
            least = chunk[best].min() if len(chunk) > CAP else -np.inf
            np.testing.assert_allclose(made["statistics"][row, place], [chunk.max(), mass, least], rtol=1e-5)


@pytest.mark.parametrize("vocabulary", [1, 7, 8, 9, 64, 65, 71, 72, 73, 150])
@pytest.mark.parametrize("digits", [0, 4])
def test_candidates_are_the_largest_of_each_chunk(vocabulary: int, digits: int) -> None:
    """Ties go to the lower token; fewer than CAP, exactly CAP and one more in the last chunk; odd vocabularies."""
    check_candidates(kernel, vocabulary, digits, gap=vocabulary % 3)


def check_ties(kernel: Any) -> None:
    """Rows of equal largest logits, in two chunks and across their border: greedy takes the first, top-2 of two."""
    rows, vocabulary = 4, 128
    for first, largest in [(10, 2.0), (10, 6.0), (63, 6.0)]:
        logits = torch.zeros(rows, vocabulary)
        logits[:, first : first + 10] = logits[:, 74:84] = largest
        for temperature in (0.0, 1.0):
            inputs = given_rows(logits, torch.linspace(0.05, 0.95, rows), temperature, 2, 1.0)
            expected = [first] * 2 + [first + 1] * 2 if temperature else [first] * 4
            assert drawn(kernel, inputs) == expected


def test_of_equals_the_first_are_kept() -> None:
    """Whatever chunk they stand in, as the reference and the executor keep them."""
    check_ties(kernel)


def check_zeros(kernel: Any) -> None:
    """-0 before 0, and nothing larger."""
    logits = torch.full((1, 70), -1.0)
    logits[:, 3], logits[:, 5] = -0.0, 0.0
    for temperature in (0.0, 1.0):
        assert drawn(kernel, given_rows(logits, torch.full((1,), 0.5), temperature, 1, 1.0)) == [3]


def test_the_two_zeros_are_equal() -> None:
    """Of -0 and 0 the lower token is kept, and not the larger in order of bits."""
    check_zeros(kernel)


PEAKED, STEEP, FLAT = 4.0, 1.0, 0.0


def check_ways(kernel: Any, peak: float, top_k: int, top_p: float, enough: bool) -> None:
    """Draws what the reference draws; where candidates are enough no logit is read, else all are."""
    numbers, rows, vocabulary = np.random.default_rng(5), 4, 200
    logits = torch.from_numpy(numbers.permuted(np.tile(np.linspace(0, 1, vocabulary), (rows, 1)), axis=1)).float()
    logits = torch.where(logits > 0.98, logits * (1 + peak), logits)
    inputs = given_rows(logits, torch.linspace(0.03, 0.97, rows), 0.5, top_k, top_p)
    expected = [
        reference.sample_top_k_top_p(one.numpy(), 0.5, top_k, top_p, float(u))
        for one, u in zip(logits, inputs["uniform"], strict=True)
    ]
    made = candidates_of(kernel, inputs)
    assert drawn(kernel, inputs, made) == expected
    unread = {**inputs, "logits": torch.full_like(logits, float("nan"))}
    other = {name: tensor.clone() for name, tensor in made.items()}
    if enough:
        assert drawn(kernel, unread, made) == expected
    else:
        other["candidates"].fill_(-9.0)
        other["ids"].fill_(-1)
        assert drawn(kernel, inputs, other) == expected


WAYS = {
    "top-k within a chunk's candidates": (FLAT, CAP, 0.95, True),
    "top-k among those above the floor": (FLAT, CAP + 3, 0.95, True),
    "top-p reached above the floor": (PEAKED, 0, 0.5, True),
    "top-p of a flat row": (FLAT, 0, 0.9, False),
    "all tokens": (FLAT, 0, 1.0, False),
    "top-k beyond the candidates": (FLAT, 100, 0.9, False),
    "top-k and top-p of which only the sum is reached": (STEEP, 150, 0.2, False),
}


@pytest.mark.parametrize("way", WAYS)
def test_logits_are_read_only_where_candidates_are_too_few(way: str) -> None:
    """The fast way where what may be drawn is among the candidates for sure, the passes over all logits else."""
    check_ways(kernel, *WAYS[way])


def check_masked(kernel: Any) -> None:
    """A few tokens left by a constraint, whole chunks without one: nothing else is drawn, and no logit read."""
    rows, vocabulary = 3, 200
    logits = torch.full((rows, vocabulary), float("-inf"))
    allowed = [3, 40, 41, 130]
    logits[:, allowed] = torch.tensor([1.0, 0.0, 1.0, 1.0])
    for top_k, top_p in [(0, 1.0), (100, 1.0), (0, 0.5), (100, 0.5)]:
        inputs = given_rows(logits, torch.linspace(0.0, 1.0, rows), 1.0, top_k, top_p)
        made = candidates_of(kernel, inputs)
        made["statistics"][:, :, 1] *= 1 + 1e-6  # as another order of sums may round
        inputs["logits"] = torch.full_like(logits, float("nan"))
        assert drawn(kernel, inputs, made) == [3, 41, 130 if top_p == 1.0 else 41]


def test_masked_tokens_are_never_drawn() -> None:
    """Not at a uniform of 1 either, where rounding may leave no token whose share passes it."""
    check_masked(kernel)


def check_no_numbers(kernel: Any) -> None:
    """Whatever comes of rows of no numbers is a token that there is."""
    for temperature in (0.0, 1.0):
        inputs = given_rows(torch.full((2, 70), float("nan")), torch.tensor([0.0, 1.0]), temperature, 0, 1.0)
        assert all(0 <= token < 70 for token in drawn(kernel, inputs))


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning")
def test_no_numbers_give_a_token_within_the_vocabulary() -> None:
    """An embedding read beyond the last would end the process."""
    check_no_numbers(kernel)


def test_the_reference_keeps_what_the_executor_keeps() -> None:
    """The executor's own sampler and this reference keep the same tokens of the same logits."""
    from services.executor.sampling import candidates

    numbers = np.random.default_rng(3)
    for top_k, top_p in [(5, 0.9), (40, 0.5), (3, 1.0), (7, 0.01)]:
        logits = np.round(numbers.normal(size=100).astype(np.float32) * 3, 1)
        tokens, _ = candidates(logits, 0.7, top_k, top_p)
        assert sorted(tokens.tolist()) == reference.kept_tokens(logits, 0.7, top_k, top_p)[0].tolist()
