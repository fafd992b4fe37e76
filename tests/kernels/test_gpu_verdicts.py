"""The verdicts of `benchmarks.gpu` on kernels can fail: right ones are called right, planted errors wrong."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.gpu_cases import Sizes, Target
from benchmarks.gpu_encoder_cases import RAGGED, every_case
from benchmarks.gpu_launch import agrees, by_triton

CPU = Target(90, "fp32", "cpu")


def _cases(sizes: Sizes, target: Target = CPU) -> dict[str, Any]:
    torch.manual_seed(1)
    return {case.name: case for case in every_case(sizes, target)}


@pytest.mark.parametrize("name", _cases(RAGGED[0]))
@pytest.mark.parametrize(("place", "kind"), [(0, "bf16"), (1, "fp32")])
def test_a_right_kernel_is_called_right(name: str, place: int, kind: str) -> None:
    """At ragged shapes, against the float64 references."""
    assert agrees(_cases(RAGGED[place], replace(CPU, activation=kind))[name], by_triton)


def _changed(output: int, change: Callable[[Any], Any]) -> Any:
    """A launcher of which one output is another."""

    def launcher(chosen: Any, inputs: Any) -> Sequence[Any]:
        outputs = list(by_triton(chosen, inputs))
        if output < len(outputs):
            outputs[output] = change(outputs[output])
        return outputs

    return launcher


def _given(**values: Any) -> Any:
    """A launcher that takes other inputs than it is given."""

    def launcher(chosen: Any, inputs: Any) -> Sequence[Any]:
        return by_triton(chosen, {name: values.get(name, lambda one: one)(one) for name, one in inputs.items()})

    return launcher


def _keys_as_values(chosen: Any, inputs: Any) -> Sequence[Any]:
    queries, keys, _ = by_triton(chosen, inputs)
    inputs["values"].copy_(keys)
    return [queries, keys, inputs["values"]]


def _unwritten(chosen: Any, inputs: Any) -> Sequence[Any]:
    """Memory stays as it was."""
    before = {name: inputs[name].clone() for name in ("keys", "values")}
    queries, *_ = by_triton(chosen, inputs)
    return [queries, before["keys"], before["values"]]


PLANTED = {
    "K and V never written": ("rope_kv_append", _unwritten),
    "keys written into values": ("rope_kv_append", _keys_as_values),
    "rows beyond their new tokens": ("rope_kv_append", _given(new_lengths=lambda one: one + 1)),
    "total never written": ("add_rms_norm", _changed(1, lambda one: one * 0)),
    "total of FP8 never written": ("add_rms_norm_fp8", _changed(1, lambda one: one * 0)),
    "FP8 without its scale": ("add_rms_norm_fp8", _given(scale=lambda one: one * 2)),
    "top_p ignored": ("sample_top_k_top_p", _given(top_p=lambda one: one * 0 + 1)),
    "top_k ignored": ("sample_top_k_top_p", _given(top_k=lambda one: one * 0)),
    "temperature ignored": ("sample_top_k_top_p", _given(temperature=lambda one: one * 0)),
    "temperature where greedy": ("sample_top_k_top_p, greedy", _given(temperature=lambda one: one + 2)),
    "a key too few": ("gqa_decode_attention", _given(lengths=lambda one: (one - 1).clamp(min=0))),
    "another page": ("gqa_decode_attention", _given(table=lambda one: one.flip(0))),
    "mask ignored": ("mean_pool_l2", _given(mask=lambda one: one * 0 + 1)),
    "zero of 4 bits": ("w4a16_gemv", _given(packed=lambda one: one ^ 1)),
    "ids of another chunk": ("similarity_top_k", _changed(1, lambda one: one + 128)),
    "nothing written": ("add_rms_norm", _changed(0, lambda one: torch.full_like(one, float("nan")))),
}


DRAWN: dict[str, Any] = {"rows": 12, "vocabulary": 203}  # enough draws that some differ


@pytest.mark.parametrize("planted", PLANTED)
def test_a_wrong_kernel_is_called_wrong(planted: str) -> None:
    """An output that is not written, an argument that is ignored or swapped: the verdict is no."""
    name, launcher = PLANTED[planted]
    assert not agrees(_cases(replace(RAGGED[0], **(DRAWN if "sample" in name else {})))[name], launcher)


def test_an_output_that_is_not_written_shows() -> None:
    """Memory that a kernel leaves as it is does not hold what another launch left there."""
    case = _cases(RAGGED[0])["add_rms_norm"]

    def idle(chosen: Any, inputs: Any) -> Sequence[Any]:
        chosen = replace(chosen, contract=replace(chosen.contract, grid_of=lambda dims, constants: (1,)))
        return by_triton(chosen, inputs)

    assert not agrees(case, idle)
