"""The contract of RoPE + KV append: memory is `[pages, kv_heads, page_size, head_dim]`, changed in place.

Linear memory `[slot, kv_heads, max_positions, head_dim]` is the case of one page a row: `page_size` is `max_positions`
and `table` holds each row's slot.
"""

from kernels.contract import ACTIVATION, Argument, Contract, ceil_div, next_power_of_two

ROPE_KV_APPEND = Contract(
    name="rope_kv_append",
    module="kernels.rope_kv_append.kernel",
    inputs=(
        Argument("qkv", ACTIVATION, 3),
        Argument("starts", "i32", 1),
        Argument("new_lengths", "i32", 1),
        Argument("table", "i32", 2),
        Argument("cosine", "fp32", 2),
        Argument("sine", "fp32", 2),
        Argument("keys", ACTIVATION, 4),
        Argument("values", ACTIVATION, 4),
    ),
    sizes=("positions", "pages"),
    outputs=(
        Argument("queries", ACTIVATION, 3),
        Argument("keys_out", ACTIVATION, 4, aliases="keys"),
        Argument("values_out", ACTIVATION, 4, aliases="values"),
    ),
    constants=("HEADS", "KV_HEADS", "HEAD_DIM", "HALF_BLOCK", "PAGE_SIZE", "QKV_STRIDE"),
    tuned=("BLOCK_HEADS",),
    sizes_of=lambda dims, constants: (dims["qkv"][1], dims["table"][1]),
    shapes_of=lambda dims, constants: (
        (dims["qkv"][0], dims["qkv"][1], constants["HEADS"] * constants["HEAD_DIM"]),
        dims["keys"],
        dims["values"],
    ),
    grid_of=lambda dims, constants: (
        dims["qkv"][0],
        dims["qkv"][1],
        ceil_div(constants["HEADS"] + 2 * constants["KV_HEADS"], constants["BLOCK_HEADS"]),
    ),
)


def constants(
    heads: int, kv_heads: int, head_dim: int, page_size: int, qkv_stride: int | None = None
) -> dict[str, int]:
    """What a model fixes; `qkv_stride` elements lie between two tokens of `qkv`."""
    return {
        "HEADS": heads,
        "KV_HEADS": kv_heads,
        "HEAD_DIM": head_dim,
        "HALF_BLOCK": next_power_of_two(head_dim // 2),
        "PAGE_SIZE": page_size,
        "QKV_STRIDE": qkv_stride or (heads + 2 * kv_heads) * head_dim,
    }
