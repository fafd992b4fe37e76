"""What each plugin computes, by its kernel's reference, in the plugin's arguments."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.add_rms_norm import reference as norm
from kernels.gqa_decode_attention import reference as attention
from kernels.gqa_decode_attention.plugin import GQA_DECODE_SPLIT
from kernels.mean_pool_l2 import reference as pool
from kernels.rope_kv_append import reference as rope
from kernels.specimens import specimen

Values = dict[str, Any]


def add_rms_norm(values: Values, given: Any) -> list[Any]:
    found = norm.add_rms_norm(values["x"], values["residual"], values["weight"], given["constants"]["EPSILON"])
    return [one.astype(values["x"].dtype) for one in found]


def rope_kv_append(values: Values, given: Any) -> list[Any]:
    found = rope.rope_kv_append(**values, heads=given["constants"]["HEADS"])
    return [one.astype(values["qkv"].dtype) for one in found]


def gqa_decode_split(values: Values, given: Any) -> list[Any]:
    """All of it as the first share; the others hold nothing. In the branch that is not taken, no number."""
    constants, rows = given["constants"], len(values["queries"])
    splits = specimen(GQA_DECODE_SPLIT, constants, given["activation"], given["architecture"]).constants["SPLITS"]
    taken = rows == len(values["lengths"])
    attended = (
        attention.gqa_decode_attention(**values, heads=constants["HEADS"], window=constants["WINDOW"])
        if taken
        else np.full((rows, constants["HEADS"] * constants["HEAD_DIM"]), np.nan)
    )
    partial = np.zeros((rows, constants["HEADS"], splits, constants["HEAD_DIM"]), np.float32)
    partial[:, :, 0] = attended.reshape(rows, constants["HEADS"], -1)
    statistics = np.zeros((rows, constants["HEADS"], splits, 2), np.float32)
    statistics[:, :, 1:, 0], statistics[:, :, 0, 1] = -np.inf, 1
    return [partial, statistics]


def gqa_decode_reduce(values: Values, given: Any) -> list[Any]:
    largest, weights = values["statistics"][..., 0], values["statistics"][..., 1]
    assert largest.shape[2] == given["constants"]["SPLITS"]
    factor = np.exp2(largest - largest.max(-1, keepdims=True))
    total = (weights * factor).sum(-1)[..., None]
    joined = (values["partial"] * factor[..., None]).sum(2) / total
    return [joined.reshape(values["like"].shape).astype(values["like"].dtype)]


def mean_pool_l2(values: Values, given: Any) -> list[Any]:
    assert values["x"].shape[2] == given["constants"]["FEATURES"]
    return [pool.mean_pool_l2(values["x"], values["mask"]).astype(np.float32)]


REFERENCES: dict[str, Callable[[Values, Any], list[Any]]] = {
    one.__name__: one for one in (add_rms_norm, rope_kv_append, gqa_decode_split, gqa_decode_reduce, mean_pool_l2)
}
