"""The pieces of `benchmarks.gpu` hold on a CPU: what it compares is equal, and its table says what was found."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import gpu, gpu_decode, gpu_table
from benchmarks.direct_emitter import emit_pass, empty_memory
from benchmarks.gpu_cases import Sizes, cases, plain_attention
from benchmarks.gpu_launch import arguments_of
from kernels.specimens import specimen
from kernels.tensorrt_plugins import CONTRACTS
from services.executor.models.rotary import Rotary

SMALL = Sizes(
    heads=4, kv_heads=2, head_dim=16, hidden=64, outputs=24, group=32, vocabulary=90, context=32, held=19, rows=3,
    norm_rows=5, texts=3, positions=7, features=40, vectors=300, k=5,
)  # fmt: skip
FOUND: dict[str, Any] = {
    "device": "NVIDIA Test 9000 (80GB)",
    "copy_bytes_per_s": 2.5e12,
    "kernels": [
        {"kernel": "a", "right": True, "ptx_right": True, "seconds": 1e-5, "share_of_copy": 0.9, "least_share": 0.85,
         "eager_seconds": 3e-5, "compiled_seconds": 2e-5},
        {"kernel": "b", "right": False, "ptx_right": True, "seconds": 1e-5, "share_of_copy": 0.8, "least_share": 0.85,
         "eager_seconds": 3e-5, "compiled_seconds": 2e-5},
        {"kernel": "c", "right": True, "ptx_right": False, "seconds": 1e-5, "share_of_copy": 0.9, "least_share": None,
         "eager_seconds": 3e-5, "compiled_seconds": 9e-6},
    ],
    "decode": [{"shape": "8B", "rows": 1, "tokens_per_s": 150.0, "transformers": None, "share_of_bound": 0.7}],
    "search": {"kernel": 0.31},
}  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: the whole of it would run")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit status 2, and nothing is written."""
    assert gpu.main([]) == gpu.NO_GPU
    assert capsys.readouterr().err.startswith("benchmarks.gpu: torch finds no CUDA device, expected one NVIDIA GPU")


@pytest.mark.parametrize("case", cases(SMALL, 80, "fp32", "cpu"), ids=lambda case: case.contract.name)
def test_what_is_compared_is_equal(case: Any) -> None:
    """Torch's side of each comparison computes what the kernel does."""
    chosen = specimen(case.contract, case.constants, "fp32", 80)
    outputs = gpu.run(chosen, case.inputs)
    if case.contract.name == "gqa_decode_split":
        found, expected = gpu.joined(chosen, case.inputs, outputs), plain_attention(SMALL, case.inputs)
    elif case.contract.name == "similarity_top_k":
        products = case.inputs["queries"].float() @ case.inputs["matrix"].float().T
        found, expected = gpu.best(outputs, SMALL.k), products.topk(SMALL.k).values
    else:
        found, expected = outputs[0], case.plain(case.inputs)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_every_plugin_but_variants_is_measured() -> None:
    """What has no case of its own is the reduction and the FP8 norm."""
    measured = {case.contract.name for case in cases(SMALL, 80, "fp32", "cpu")}
    assert {one.name for one in CONTRACTS} - measured == {"gqa_decode_reduce", "add_rms_norm_fp8"}


def test_arguments_are_in_tensorrts_order() -> None:
    """Pointers of inputs, then sizes, then pointers of outputs, each in its own width."""
    case = next(one for one in cases(SMALL, 80, "fp32", "cpu") if one.contract.name == "mean_pool_l2")
    output = torch.empty(SMALL.texts, SMALL.features)
    pointers = [case.inputs["x"].data_ptr(), case.inputs["mask"].data_ptr()]
    values = arguments_of(case.contract, case.constants, case.inputs, [output])
    assert values == [*pointers, SMALL.positions, output.data_ptr()]
    assert [type(value) for value in values] == [np.uint64, np.uint64, np.int32, np.uint64]


def test_random_decoders_have_all_weights() -> None:
    """The direct emitter finds each weight of a random shape, and a step's bytes count each once."""
    shape = gpu_decode.shape_of("1B")
    rotary = Rotary((1.0,) * 8)
    attention = replace(shape.attention, heads=4, kv_heads=2, head_dim=16, rotary=rotary, max_positions=16)
    small = replace(shape, layers=1, hidden=32, intermediate=48, vocabulary=50, attention=attention)
    weights = gpu_decode.random_weights(small, "fp32", "cpu")
    stored = sum(weight.numel() for weight in weights.values())
    assert gpu_decode.step_bytes(weights, small, 2, 10) == 4 * (stored + 2 * 2 * 10 * 2 * 16)
    logits = emit_pass(
        weights, small, torch.zeros((2, 1), dtype=torch.int64), empty_memory(small, 2, "fp32", "cpu"), "fp32", 80
    )
    assert logits.shape == (2, 50)
    assert logits.isfinite().all()


def test_the_table_says_what_was_found(tmp_path: Path) -> None:
    """Files are named after the device; wrong kernels and missed bars stand out."""
    text = gpu_table.write(FOUND, tmp_path)
    assert (tmp_path / "nvidia-test-9000-80gb.md").read_text() == text
    assert json.loads((tmp_path / "nvidia-test-9000-80gb.json").read_text()) == FOUND
    assert "| a | yes | yes | 10.0 | 90.0% | 85%, torch.compile: held | 30.0 | 20.0 |" in text
    assert "| b | NO | yes | 10.0 | 80.0% | 85%, torch.compile: MISSED | 30.0 | 20.0 |" in text
    assert "| c | yes | NO | 10.0 | 90.0% | torch.compile: MISSED | 30.0 | 9.0 |" in text
    assert "| 8B | 1 | 150 | not installed | 70.0% | 80%: MISSED |" in text
