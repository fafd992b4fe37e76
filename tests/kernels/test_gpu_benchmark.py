"""The pieces of `benchmarks.gpu` hold on a CPU: it runs to its end, compares equal work, its table is true."""

import json
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from benchmarks import gpu, gpu_decode, gpu_search, gpu_table
from benchmarks.direct_emitter import Packed, emit_pass, empty_memory
from benchmarks.gpu_cases import Sizes, Target
from benchmarks.gpu_encoder_cases import RAGGED, every_case, timed_cases
from benchmarks.gpu_launch import by_triton, tensors
from kernels.device_kernel import arguments_of
from kernels.launch import new_outputs
from kernels.specimens import specimens
from services.cache import search_device
from services.executor.models.rotary import Rotary
from tests.kernels.driver_fake import InterpretedDriver

SMALL = Sizes(
    heads=4, kv_heads=2, head_dim=16, hidden=64, outputs=24, group=64, vocabulary=90, page_size=32, held=19, rows=3,
    positions=1, texts=3, words=7, features=40, vectors=300, k=5,
)  # fmt: skip
CPU = Target(90, "fp32", "cpu")
DEVICE = {"device": "NVIDIA Test 9000 (80GB)", "architecture": 90, "copy_bytes_per_s": 2.5e12}
TIMES = {"seconds": 1e-5, "eager_seconds": 3e-5, "compiled_seconds": 2e-5, "shape": "8 rows"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the whole of it would run")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit status 2, and nothing is written."""
    assert gpu.main([]) == gpu.NO_GPU
    assert capsys.readouterr().err.startswith("benchmarks.gpu: torch finds no CUDA device, expected one NVIDIA GPU")


def test_decoders_that_are_unknown_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is measured, with those that there are."""
    with pytest.raises(SystemExit):
        gpu.main(["--shapes", "9B"])
    assert "'9B' (choose from " in capsys.readouterr().err


def _chosen(case: Any) -> Any:
    return next(one for one in specimens(90) if one.contract.name == case.name)


@pytest.mark.parametrize("name", [f"{shape}: {case.name}" for shape, case in timed_cases(SMALL, CPU)])
def test_what_is_compared_is_equal(name: str) -> None:
    """Torch computes all outputs that our kernels do, memory that is appended to included."""
    torch.manual_seed(2)
    case = next(case for shape, case in timed_cases(SMALL, CPU) if f"{shape}: {case.name}" == name)
    found, expected = (
        run({name: one.clone() for name, one in case.inputs.items()})
        for run in (lambda given: case.run(by_triton, given), case.plain)
    )
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other.float(), rtol=1e-3, atol=0.07 if "fp8" in name else 1e-3)


def test_every_kernel_is_checked_and_timed() -> None:
    """Those of a pair are launched by their operator's case."""
    launched: set[str] = set()

    def launcher(chosen: Any, inputs: Any) -> Sequence[Any]:
        launched.add(chosen.contract.name)
        return new_outputs(chosen.contract, inputs, chosen.constants, "fp32")

    for cases in (every_case(RAGGED[0], CPU), [case for _, case in timed_cases(SMALL, CPU)]):
        launched.clear()
        for case in cases:
            case.run(launcher, case.inputs)
        assert launched == {one.contract.name for one in specimens(90)}


def test_arguments_are_in_tensorrts_order() -> None:
    """Pointers of inputs, then sizes, then pointers of outputs, each in its own width."""
    case = next(case for case in every_case(SMALL, CPU) if case.name == "mean_pool_l2")
    output = torch.empty(SMALL.texts, SMALL.features)
    pointers = [case.inputs["x"].data_ptr(), case.inputs["mask"].data_ptr()]
    chosen = _chosen(case)
    values = arguments_of(chosen.contract, chosen.constants, tensors(case.inputs), [output.data_ptr()])
    assert values == [*pointers, SMALL.words, output.data_ptr()]
    assert [type(value) for value in values] == [np.uint64, np.uint64, np.int32, np.uint64]


def _tiny() -> Any:
    shape = gpu_decode.shape_of("1B")
    attention = replace(shape.attention, heads=8, kv_heads=2, head_dim=16, rotary=Rotary((1.0,) * 8), max_positions=256)
    return replace(shape, layers=1, hidden=128, intermediate=128, vocabulary=50, attention=attention)


def test_a_pass_that_is_captured_copies_nothing_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first pass everything lies on the device; a random decoder has all its weights."""
    small = _tiny()
    weights, memory = gpu_decode.random_weights(small, "fp32", "cpu"), empty_memory(small, 2, "fp32", "cpu")
    stored = sum(weight.numel() for weight in weights.values())
    assert gpu_decode.step_bytes(small, 2, 10) == 2 * (stored + 2 * 2 * 10 * 2 * 16)
    packed = gpu_decode.random_weights(small, "fp16", "cpu", packed=True).values()
    least = sum(one.nbytes for kept in packed for one in (kept if isinstance(kept, Packed) else [kept]))
    assert gpu_decode.step_bytes(small, 0, 10, packed=True) == least
    tokens = torch.zeros((2, 1), dtype=torch.int64)
    first = emit_pass(weights, small, tokens, memory, "fp32", 80)

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a tensor is made of host memory")

    for name in ("from_numpy", "tensor", "as_tensor"):
        monkeypatch.setattr(torch, name, refused)
    again = emit_pass(weights, small, tokens, memory, "fp32", 80)
    assert again.shape == (2, 50)
    assert again.isfinite().all()
    assert torch.equal(first, again)


def _zeros(chosen: Any, inputs: Any) -> Sequence[Any]:
    """A launcher of which kernels write zeros."""
    return [one * 0 for one in by_triton(chosen, inputs)]


class AtOnce(Executor):
    """Calls in this process, where what is patched is patched."""

    def __init__(self, mp_context: Any) -> None:
        assert mp_context.get_start_method() == "spawn"  # a forked process cannot use CUDA

    def submit(self, call: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        """Done when it returns."""
        future: Future[Any] = Future()
        future.set_result(call(*arguments, **named))
        return future


@pytest.fixture
def without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark on a CPU: small sizes, interpreted by either way of launching, nothing captured or compiled,
    times made up."""
    little = {"vocabulary": 50, "page_size": 30, "features": 40, "heads": 2, "kv_heads": 1, "outputs": 20}
    small, tiny = replace(RAGGED[1], **little), _tiny()  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    monkeypatch.setattr(InterpretedDriver, "name", DEVICE["device"])
    for module in (gpu, search_device):
        monkeypatch.setattr(module, "CudaDriver", lambda: InterpretedDriver(monkeypatch))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=7))
    monkeypatch.setattr(gpu, "Target", lambda architecture, activation, device: CPU)
    monkeypatch.setattr(gpu, "Sizes", lambda: SMALL)
    monkeypatch.setattr(gpu, "RAGGED", [small])
    monkeypatch.setattr(gpu, "CHECKED", ["fp32"])
    monkeypatch.setattr(gpu, "timed_cases", lambda sizes, target: timed_cases(sizes, target)[-5:])
    monkeypatch.setattr(gpu, "copy_bandwidth", lambda: 1e12)
    monkeypatch.setattr(gpu, "ProcessPoolExecutor", AtOnce)
    monkeypatch.setattr(gpu, "call_seconds", lambda call, inputs: call(inputs) is None or 1e-5)
    monkeypatch.setattr(gpu_decode, "compile_transformers", lambda name: None)
    for module in (gpu_search, gpu_decode):
        monkeypatch.setattr(module, "captured", lambda call: call, raising=False)
        monkeypatch.setattr(module, "median_seconds", lambda call: call() is None or 1e-5, raising=False)
    fakes = {
        "StandardGpuResources": object,
        "get_num_gpus": lambda: 1,
        "index_cpu_to_gpu": lambda its, at, index: index,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(faiss, name, fake, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: index)
    monkeypatch.setattr(gpu_decode, "step_seconds", lambda step, steps: step() is None or 1e-2)
    monkeypatch.setattr(gpu_decode, "shape_of", lambda name: tiny)
    monkeypatch.setattr(gpu_decode, "HELD", 2 * gpu_decode.STEPS + 3)
    monkeypatch.setattr(gpu_decode, "BATCHES", (1, 2))


@pytest.mark.usefixtures("without_a_device")
def test_it_runs_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every section, on a machine where kernels run in the interpreter; and not well where the exact PTX is wrong."""
    assert gpu.main(["--folder", str(tmp_path), "--shapes", "1B"]) == 0
    found = json.loads((tmp_path / "nvidia-test-9000-80gb.json").read_text())
    assert found["failed"] == []
    assert {one["kernel"] for one in found["checks"]} == {case.name for case in every_case(SMALL, CPU)}
    assert len(found["kernels"]) == 5
    ways = ["direct emitter", "direct emitter, 4 bits", "transformers"]
    assert [one["way"] for one in found["decode"]] == [*ways, "transformers, compiled", *ways]
    places = ("index on the GPU", "index on the GPU", "clusters on the CPU")
    assert [one["way"] for one in found["search"]] == [
        "kernel",
        *(f"the cache's {place}, 300 vectors, one query" for place in places),
        "faiss cpu, one query",
        "faiss gpu, one query",
    ]
    monkeypatch.setattr(gpu, "timed_cases", lambda sizes, target: [])
    monkeypatch.setattr(gpu, "ByDriver", lambda driver, stream, timed=False: _zeros)
    assert gpu.main(["--folder", str(tmp_path), "--shapes"]) == 1


def test_transformers_steps_read_as_much_as_ours() -> None:
    """Its cache has as many places as our rows hold, and takes all steps of a measurement."""
    pytest.importorskip("transformers")
    held = 2 * gpu_decode.STEPS + 3
    with torch.no_grad():
        step = gpu_decode.transformers_step(_tiny(), 2, "cpu", held, compiled=False)
        for _ in range(2 * gpu_decode.STEPS):
            found = step()
    assert found.past_key_values.layers[0].keys.shape[2] == held
    assert int(found.past_key_values.get_seq_length()) == held


def test_a_measurement_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    """It stands in the report, which is on disk after each, and the command does not end well."""
    report = gpu.Report(DEVICE, tmp_path)
    report.add("checks", "a", lambda: {"kernel": "a", "type": "bf16", "right": True, "ptx_right": True})
    assert report.right
    report.add("kernels", "b", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    report.add("kernels", "c", lambda: {"kernel": "c", "share_of_copy": 0.9, "least_share": None, **TIMES})
    kept = json.loads((tmp_path / "nvidia-test-9000-80gb.json").read_text())
    assert kept["failed"] == ["kernels, b: ZeroDivisionError: division by zero"]
    assert [one["kernel"] for one in kept["checks"] + kept["kernels"]] == ["a", "c"]
    assert "- kernels, b: ZeroDivisionError" in (tmp_path / "nvidia-test-9000-80gb.md").read_text()
    assert not report.right


def test_the_table_says_what_was_found(tmp_path: Path) -> None:
    """Wrong kernels and missed bars stand out, each bar by itself; a kernel is right where it is so at every shape."""
    wrong = {"kernel": "b", "type": "bf16", "right": False, "ptx_right": True}
    slow = {**TIMES, "compiled_seconds": 9e-6}
    found = {
        **DEVICE,
        "failed": [],
        "checks": [wrong, {**wrong, "right": True}, {**wrong, "type": "fp32", "right": True, "ptx_right": False}],
        "kernels": [
            {"kernel": "a", "share_of_copy": 0.9, "least_share": 0.85, **TIMES},
            {"kernel": "b", "share_of_copy": 0.8, "least_share": 0.85, **TIMES},
            {"kernel": "c", "share_of_copy": 0.9, "least_share": None, **slow},
        ],
        "decode": [
            {"shape": "8B", "rows": 1, "way": "direct emitter", "tokens_per_s": 150.0, "share_of_bound": 0.7},
            {"shape": "8B", "rows": 1, "way": "transformers", "tokens_per_s": 30.0, "share_of_bound": 0.14},
        ],
        "search": [{"way": "kernel", "ms": 0.31}],
    }
    text = gpu_table.write(found, tmp_path)
    assert json.loads((tmp_path / "nvidia-test-9000-80gb.json").read_text()) == found
    assert "| b | bf16 | NO | yes |" in text
    assert "| b | fp32 | yes | NO |" in text
    assert "| a | 8 rows | 10.0 | 90.0% | torch.compile: held, 85%: held | 30.0 | 20.0 |" in text
    assert "| b | 8 rows | 10.0 | 80.0% | torch.compile: held, 85%: MISSED | 30.0 | 20.0 |" in text
    assert "| c | 8 rows | 10.0 | 90.0% | torch.compile: MISSED | 30.0 | 9.0 |" in text
    assert "| 8B | 1 | direct emitter | 150 | 70.0% | 80%: MISSED |" in text
    assert "| 8B | 1 | transformers | 30 | 14.0% |  |" in text
