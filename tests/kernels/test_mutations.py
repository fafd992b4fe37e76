"""The numerics tests can fail: an error planted in each kernel is caught by the check that its test runs."""

import ast
import importlib.util
import tomllib
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
        test_gqa_decode_attention.check(
            kernel, seed, (2, 3), 20, page_size=7, pages=14, splits=2, kind="fp32", window=20 * seed
        )


def _many_rows(kernel: Any) -> None:
    test_gqa_decode_attention.check_shares(kernel, rows=9, length=96, expected=3)


def _gemv(kernel: Any) -> None:
    test_w4a16_gemv.check(kernel, 1, rows=5, groups=3, group=64, outputs=37, kind="fp32")


def _gemv_bf16(kernel: Any) -> None:
    test_w4a16_gemv.check(kernel, 1, rows=2, groups=1, group=128, outputs=9, kind="bf16")


def _gemv_fp16(kernel: Any) -> None:
    test_w4a16_gemv.check(kernel, 1, rows=2, groups=1, group=128, outputs=9, kind="fp16")


def _pool(kernel: Any) -> None:
    test_mean_pool_l2.check(kernel, 1, rows=3, positions=11, features=50, gap=3, kind="fp32")
    test_mean_pool_l2.check(kernel, 1, rows=2, positions=200, features=5, gap=0, kind="fp32")


def _sample(kernel: Any) -> None:
    for top_k, top_p, digits in [(0, 1.0, 1), (7, 1.0, 0), (0, 0.5, 0), (9, 0.8, 0)]:
        test_sample_top_k_top_p.check(kernel, 0, 100, 1.5, top_k, top_p, digits, gap=1)


def _greedy(kernel: Any) -> None:
    for seed in range(4):
        test_sample_top_k_top_p.check(kernel, seed, 200, 0.0, 0, 1.0, 0, gap=1)


def _ties(kernel: Any) -> None:
    test_sample_top_k_top_p.check_ties(kernel)


def _candidates(kernel: Any) -> None:
    for vocabulary in (66, 150):
        test_sample_top_k_top_p.check_candidates(kernel, vocabulary, 0, gap=1)


def _way(way: Any) -> Callable[[Any], None]:
    return lambda kernel: test_sample_top_k_top_p.check_ways(kernel, *way)


def _masked(kernel: Any) -> None:
    test_sample_top_k_top_p.check_masked(kernel)


def _zeros(kernel: Any) -> None:
    test_sample_top_k_top_p.check_zeros(kernel)


def _no_numbers(kernel: Any) -> None:
    test_sample_top_k_top_p.check_no_numbers(kernel)


def _similarity(kernel: Any) -> None:
    test_similarity_top_k.check(kernel, 1, queries=3, rows=90, features=37, k=5)
    test_similarity_top_k.check(kernel, 1, queries=2, rows=9, features=5, k=10)


CHECKS = {
    "norm": _norm,
    "norm_fp8": _norm_fp8,
    "rope": _rope,
    "attention": _attention,
    "many_rows": _many_rows,
    "gemv": _gemv,
    "gemv_bf16": _gemv_bf16,
    "gemv_fp16": _gemv_fp16,
    "pool": _pool,
    "sample": _sample,
    "greedy": _greedy,
    "ties": _ties,
    "candidates": _candidates,
    "masked": _masked,
    "zeros": _zeros,
    "no_numbers": _no_numbers,
    "similarity": _similarity,
    **{name: _way(way) for name, way in test_sample_top_k_top_p.WAYS.items()},
}
PLANTED = [
    Planted(one["name"], operator, one["before"], one["after"], CHECKS[one["check"]])
    for operator, planted in tomllib.loads(Path(__file__).with_name("planted.toml").read_text(encoding="utf-8")).items()
    for one in planted
]


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
    """What is caught below is the planted error, not the way it is planted; the kernel's own tests run all checks."""
    source = (KERNELS / operator / "kernel.py").read_text(encoding="utf-8")
    next(one.check for one in PLANTED if one.operator == operator)(_load(tmp_path, source))


@pytest.mark.parametrize("planted", PLANTED, ids=[f"{one.operator}: {one.name}" for one in PLANTED])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_planted_error_is_caught(tmp_path: Path, planted: Planted) -> None:
    """With the error the kernel does not pass its check."""
    source = (KERNELS / planted.operator / "kernel.py").read_text(encoding="utf-8")
    assert source.count(planted.before) == 1, "the error's place must be found, once"
    with pytest.raises(AssertionError):
        planted.check(_load(tmp_path, source.replace(planted.before, planted.after)))


def test_every_kernel_has_planted_errors() -> None:
    """No kernel's check goes unproved: some error lies in each, or in what it calls."""
    assert {one.operator for one in PLANTED} == {path.parent.name for path in KERNELS.glob("*/kernel.py")}
    for operator in {one.operator for one in PLANTED}:
        source = (KERNELS / operator / "kernel.py").read_text(encoding="utf-8")
        functions = {one.name: one for one in ast.parse(source).body if isinstance(one, ast.FunctionDef)}
        for name in functions.keys() - {name for name in functions if name.startswith("_")}:
            inside = _with_called(name, functions, source)
            assert any(one.before in inside for one in PLANTED if one.operator == operator), name


def _with_called(name: str, functions: dict[str, ast.FunctionDef], source: str) -> str:
    called = {one.id for one in ast.walk(functions[name]) if isinstance(one, ast.Name)} & functions.keys()
    own = ast.get_source_segment(source, functions[name]) or ""
    return own + "".join(_with_called(one, functions, source) for one in called)
