"""The numerics tests can fail: an error planted in each kernel is caught by the check that its test runs."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import (
    test_add_rms_norm,
    test_gqa_decode_attention,
    test_mean_pool_l2,
    test_rope_kv_append,
    test_sample_top_k_top_p,
    test_similarity_top_k,
    test_w4a16_gemv,
)

KERNELS = Path(__file__).parents[2] / "kernels"


@dataclass(frozen=True)
class Planted:
    """An error in a kernel's source: what stands there, what stands there instead, and what must notice."""

    name: str
    operator: str
    before: str
    after: str
    check: Callable[[Any], None]


def _norm(kernel: Any) -> None:
    test_add_rms_norm.check(kernel, 1, rows=3, features=77, gap=2, kind="fp32")


def _norm_fp8(kernel: Any) -> None:
    for output in ("fp8e4nv", "fp32"):
        test_add_rms_norm.check_fp8(kernel, 1, rows=3, features=77, scale=0.001, output=output)


def _rope(kernel: Any) -> None:
    for seed in range(4):
        test_rope_kv_append.check(kernel, seed, (2, 3), 5, positions=4, page_size=3, pages=3, kind="fp32")


def _attention(kernel: Any) -> None:
    for seed in range(2):
        test_gqa_decode_attention.check(kernel, seed, (2, 3), 20, page_size=7, pages=14, splits=2, kind="fp32")


def _gemv(kernel: Any) -> None:
    test_w4a16_gemv.check(kernel, 1, rows=5, groups=3, group=32, outputs=37, kind="fp32")


def _pool(kernel: Any) -> None:
    test_mean_pool_l2.check(kernel, 1, rows=3, positions=11, features=50, gap=3, kind="fp32")


def _sample(kernel: Any) -> None:
    for top_k, top_p, digits in [(0, 1.0, 1), (7, 1.0, 0), (0, 0.5, 0), (9, 0.8, 0)]:
        for seed in range(2):
            test_sample_top_k_top_p.check(kernel, seed, 100, 1.5, top_k, top_p, digits, gap=1)


def _similarity(kernel: Any) -> None:
    test_similarity_top_k.check(kernel, 1, queries=3, rows=90, features=37, k=5)
    test_similarity_top_k.check(kernel, 1, queries=2, rows=9, features=5, k=10)


PLANTED = [
    Planted("missing tail", "add_rms_norm", "inside = columns < FEATURES", "inside = columns < FEATURES - 1", _norm),
    Planted("wrong stride", "add_rms_norm", "x + row * X_STRIDE", "x + row * FEATURES", _norm),
    Planted("divisor is the block", "add_rms_norm", "axis=0) / FEATURES", "axis=0) / BLOCK", _norm),
    Planted("no clamp", "add_rms_norm", "-FP8_LARGEST), FP8_LARGEST)", "-2 * FP8_LARGEST), 2 * FP8_LARGEST)", _norm_fp8),
    Planted("scale swapped", "add_rms_norm", "values / tl.load(scale)", "values * tl.load(scale)", _norm_fp8),
    Planted("wrong mask", "rope_kv_append", "place < tl.minimum(tl.load(new_lengths + row)", "place <= tl.minimum(tl.load(new_lengths + row)", _rope),
    Planted("swapped arguments", "rope_kv_append", "second.to(tl.float32) * cos + first.to(tl.float32) * sin", "first.to(tl.float32) * cos + second.to(tl.float32) * sin", _rope),
    Planted("values for keys", "rope_kv_append", "tl.store(values_out + offset, first", "tl.store(values_out + offset, turned_first", _rope),
    Planted("no page table", "rope_kv_append", "position // PAGE_SIZE, mask=kept", "0, mask=kept", _rope),
    Planted("wrong mask", "gqa_decode_attention", "tl.where(seen[None, :], score, float(\"-inf\"))", "score", _attention),
    Planted("missing tail", "gqa_decode_attention", "tl.cdiv(tl.cdiv(length, SPLITS), BLOCK_KEYS) * BLOCK_KEYS", "length // SPLITS // BLOCK_KEYS * BLOCK_KEYS", _attention),
    Planted("no rescaling", "gqa_decode_attention", "result = result * faded[:, None] + ", "result = result + ", _attention),
    Planted("wrong head", "gqa_decode_attention", "head = kv_head * group + member", "head = member * KV_HEADS + kv_head", _attention),
    Planted("shares unweighted", "gqa_decode_attention", "tl.sum(shares * factor[:, None], axis=0)", "tl.sum(shares, axis=0)", _attention),
    Planted("swapped halves", "w4a16_gemv", "sums = tl.dot(first, low,", "sums = tl.dot(first, high,", _gemv),
    Planted("wrong zero", "w4a16_gemv", "low = ((pair & 15) - 8)", "low = ((pair & 15) - 7)", _gemv),
    Planted("missing tail", "w4a16_gemv", "wanted = row < rows, output < OUTPUTS", "wanted = row < rows, output < OUTPUTS - 1", _gemv),
    Planted("wrong scale", "w4a16_gemv", "(FEATURES // GROUP) + group, mask", "(FEATURES // GROUP), mask", _gemv),
    Planted("wrong mask", "mean_pool_l2", "other=0) != 0", "other=0) == 0", _pool),
    Planted("missing tail", "mean_pool_l2", "for at in range(0, positions, BLOCK_POSITIONS)", "for at in range(0, positions - BLOCK_POSITIONS, BLOCK_POSITIONS)", _pool),
    Planted("no root", "mean_pool_l2", "length = tl.sqrt(tl.sum(total * total, axis=0))", "length = tl.sum(total * total, axis=0)", _pool),
    Planted("missing tail", "sample_top_k_top_p", "tied += tl.sum(at_edge, axis=0)", "tied += 0", _sample),
    Planted("no temperature", "sample_top_k_top_p", "weight = tl.where(kept, tl.exp((values - largest) * inverse), 0.0)", "weight = tl.where(kept, tl.exp(values - largest), 0.0)", _sample),
    Planted("ties uncounted", "sample_top_k_top_p", "ties = asked - above", "ties = asked", _sample),
    Planted("swapped arguments", "sample_top_k_top_p", "goal = tl.load(top_p + row) *", "goal = tl.load(uniform + row) *", _sample),
    Planted("missing tail", "similarity_top_k", "products = tl.where((row < rows)[None, :], products", "products = tl.where((row < rows - 1)[None, :], products", _similarity),
    Planted("repeats the best", "similarity_top_k", "tl.where(place[None, :] == index[:, None], float(\"-inf\"), products)", "products", _similarity),
    Planted("wrong ids", "similarity_top_k", "tl.where(place == index, names, -1)", "tl.where(place == index, column, -1)", _similarity),
]  # fmt: skip


def _load(folder: Path, source: str) -> Any:
    """A kernel module from a changed source; Triton reads the file again, so there must be one."""
    path = folder / "kernel.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("planted_kernel", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("operator", sorted({one.operator for one in PLANTED}))
def test_a_kernel_as_it_is_passes(tmp_path: Path, operator: str) -> None:
    """What is caught below is the planted error, not the way it is planted."""
    source = (KERNELS / operator / "kernel.py").read_text(encoding="utf-8")
    for check in {one.check for one in PLANTED if one.operator == operator}:
        check(_load(tmp_path, source))


@pytest.mark.parametrize("planted", PLANTED, ids=[f"{one.operator}: {one.name}" for one in PLANTED])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_planted_error_is_caught(tmp_path: Path, planted: Planted) -> None:
    """With the error the kernel does not pass its check."""
    source = (KERNELS / planted.operator / "kernel.py").read_text(encoding="utf-8")
    assert source.count(planted.before) == 1, "the error's place must be found, once"
    with pytest.raises(AssertionError):
        planted.check(_load(tmp_path, source.replace(planted.before, planted.after)))


def test_every_kernel_has_planted_errors() -> None:
    """No kernel's check goes unproved."""
    assert {one.operator for one in PLANTED} == {path.parent.name for path in KERNELS.glob("*/kernel.py")}
