"""The contracts of decode attention: a plugin has one kernel and no workspace, so split-K is two of them.

Memory and table are those of `rope_kv_append`.
"""

import math

from kernels.contract import ACTIVATION, Argument, Contract, next_power_of_two

SMALLEST_DOT = 16

_PARTIAL = Argument("partial", "fp32", 4)
_STATISTICS = Argument("statistics", "fp32", 4)

GQA_DECODE_SPLIT = Contract(
    name="gqa_decode_split",
    module="kernels.gqa_decode_attention.kernel",
    inputs=(
        Argument("queries", ACTIVATION, 2),
        Argument("keys", ACTIVATION, 4),
        Argument("values", ACTIVATION, 4),
        Argument("table", "i32", 2),
        Argument("lengths", "i32", 1),
    ),
    sizes=("pages",),
    outputs=(_PARTIAL, _STATISTICS),
    constants=(
        "HEADS",
        "KV_HEADS",
        "HEAD_DIM",
        "DIM_BLOCK",
        "GROUP_BLOCK",
        "PAGE_SIZE",
        "QUERY_STRIDE",
        "SCALE",
        "WINDOW",
    ),
    tuned=("SPLITS", "BLOCK_KEYS"),
    sizes_of=lambda dims, constants: (dims["table"][1],),
    shapes_of=lambda dims, constants: (
        (dims["queries"][0], constants["HEADS"], constants["SPLITS"], constants["HEAD_DIM"]),
        (dims["queries"][0], constants["HEADS"], constants["SPLITS"], 2),
    ),
    grid_of=lambda dims, constants: (dims["queries"][0], constants["KV_HEADS"], constants["SPLITS"]),
)

GQA_DECODE_REDUCE = Contract(
    name="gqa_decode_reduce",
    module="kernels.gqa_decode_attention.kernel",
    inputs=(_PARTIAL, _STATISTICS, Argument("like", ACTIVATION, 2)),
    outputs=(Argument("attended", ACTIVATION, 2),),
    constants=("HEADS", "HEAD_DIM", "DIM_BLOCK", "SPLITS", "SPLIT_BLOCK"),
    tuned=(),
    shapes_of=lambda dims, constants: (dims["like"],),
    grid_of=lambda dims, constants: (dims["partial"][0], constants["HEADS"]),
)


def split_constants(
    heads: int, kv_heads: int, head_dim: int, page_size: int, query_stride: int | None = None, window: int | None = None
) -> dict[str, int | float]:
    """What a model fixes; `query_stride` elements lie between two rows of `queries`; `window` keys are seen."""
    return {
        "HEADS": heads,
        "KV_HEADS": kv_heads,
        "HEAD_DIM": head_dim,
        "DIM_BLOCK": max(SMALLEST_DOT, next_power_of_two(head_dim)),
        "GROUP_BLOCK": max(SMALLEST_DOT, next_power_of_two(heads // kv_heads)),
        "PAGE_SIZE": page_size,
        "QUERY_STRIDE": query_stride or heads * head_dim,
        "SCALE": math.log2(math.e) / math.sqrt(head_dim),
        "WINDOW": window or 0,
    }


def reduce_constants(heads: int, head_dim: int, splits: int) -> dict[str, int]:
    """What a model and the first kernel's configuration fix."""
    return {
        "HEADS": heads,
        "HEAD_DIM": head_dim,
        "DIM_BLOCK": next_power_of_two(head_dim),
        "SPLITS": splits,
        "SPLIT_BLOCK": next_power_of_two(splits),
    }
