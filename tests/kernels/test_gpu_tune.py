"""What `benchmarks.gpu_tune` chooses from holds on a CPU: configurations that compute what the present one does."""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks import gpu_tune
from benchmarks.gpu_cases import Sizes, Target
from benchmarks.gpu_encoder_cases import pool_case
from benchmarks.gpu_launch import by_triton
from kernels.specimens import specimens

CPU = Target(90, "fp32", "cpu")
SMALL = Sizes(texts=3, words=7, features=40)
POOL = gpu_tune.Space(
    "mean_pool_l2",
    {"BLOCK_POSITIONS": (4, 8), "STAGES": (2,), "num_warps": (2, 4), "num_stages": (1,)},
    pool_case,
    (SMALL, replace(SMALL, texts=2)),
)


class Later(Executor):
    """Takes what is to be compiled, and compiles nothing."""

    def __init__(self) -> None:
        self.wanted: list[Any] = []

    def submit(self, call: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        """Never done."""
        self.wanted.append((*arguments, *named.values()))
        return Future()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: it would be tuned")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and exit status 2."""
    assert gpu_tune.main([]) == gpu_tune.NO_GPU
    assert capsys.readouterr().err.startswith("benchmarks.gpu_tune: torch finds no CUDA device, expected one")


def test_candidates_name_what_a_contract_has_tuned() -> None:
    """All of it and nothing else, for every kernel."""
    tuned = {one.contract.name: {*one.contract.tuned, "num_warps", "num_stages"} for one in specimens(90)}
    assert {space.kernel: set(space.candidates) for space in gpu_tune.spaces()} == tuned


def test_what_is_tuned_for_an_h100_is_a_candidate() -> None:
    """So that the tuner finds it again."""
    kept = {one.contract.name: one.configuration for one in specimens(90)}
    assert [
        space.kernel for space in gpu_tune.spaces() if kept[space.kernel] not in gpu_tune.configurations(space)
    ] == []


def test_outputs_agree_but_for_the_order_of_sums() -> None:
    """Whole numbers exactly; what is NaN never does."""
    one = torch.tensor([1.0, 100.0])
    assert gpu_tune.agree(one + 1, one)
    assert not gpu_tune.agree(one + 3, one)
    assert not gpu_tune.agree(one * float("nan"), one)
    assert gpu_tune.agree(one.int(), one.int())
    assert not gpu_tune.agree(one.int() + 1, one.int())


def test_each_configuration_is_compiled_once() -> None:
    """The present one and the candidates, however many sizes share it."""
    later = Later()
    gpu_tune.Candidates(later, CPU).begin(POOL)
    kernels = [(one["BLOCK_POSITIONS"], one["STAGES"], tuned.num_warps) for _, one, tuned, *_ in later.wanted]
    assert sorted(set(kernels)) == sorted(kernels)
    assert {(positions, 2, warps) for positions in (4, 8) for warps in (2, 4)} <= set(kernels)


def test_one_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have a time for each size, and the fastest is listed first."""
    took = {4: 3e-6, 8: 2e-6}

    def launcher(chosen: Any, inputs: Any) -> Sequence[Any]:
        wrong = (chosen.configuration.constants["BLOCK_POSITIONS"], chosen.configuration.num_warps) == (8, 4)
        launcher_seen.append(chosen.configuration)
        return [one * (0.9 if wrong else 1) for one in by_triton(chosen, inputs)]

    def seconds(call: Any, inputs: Any, calls: int, rounds: int) -> float:
        call(inputs)
        chosen = launcher_seen[-1]
        return took[chosen.constants["BLOCK_POSITIONS"]] * float(chosen.num_warps)

    launcher_seen: list[Any] = []
    monkeypatch.setattr(gpu_tune, "call_seconds", seconds)
    found = gpu_tune.timed(POOL, gpu_tune.Candidates(Later(), CPU), launcher)  # type: ignore[arg-type]
    assert [(one.get("BLOCK_POSITIONS"), one.get("num_warps"), one["us"]) for one in found[1:]] == [
        (4, 2, [6, 6]),
        (4, 4, [12, 12]),
        (8, 2, [4, 4]),
        (8, 4, []),
    ]
    assert found[-1]["refused"] == "computes something else at size 0"
    first, best, *_ = gpu_tune.table("mean_pool_l2", found).splitlines()
    assert "3 of 4 candidates" in first
    assert "'BLOCK_POSITIONS': 8, 'STAGES': 2, 'num_warps': 2" in best
    assert "0 of 1 candidates" in gpu_tune.table("mean_pool_l2", [found[0], found[-1]])
