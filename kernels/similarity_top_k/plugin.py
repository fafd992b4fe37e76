"""The contracts of similarity search: candidates of each chunk of rows, then merges, until one chunk is left."""

from kernels.contract import Argument, Contract, ceil_div

QUERY_BLOCK = 16

SIMILARITY_TOP_K = Contract(
    name="similarity_top_k",
    module="kernels.similarity_top_k.kernel",
    inputs=(Argument("queries", "fp16", 2), Argument("matrix", "fp16", 2)),
    sizes=("query_count", "rows", "chunks"),
    outputs=(Argument("scores", "fp32", 3), Argument("ids", "i32", 3)),
    constants=("FEATURES", "FEATURE_BLOCK", "K", "QUERY_BLOCK"),
    tuned=("BLOCK_ROWS", "BLOCK_FEATURES"),
    sizes_of=lambda dims, constants: (
        dims["queries"][0],
        dims["matrix"][0],
        ceil_div(dims["matrix"][0], constants["BLOCK_ROWS"]),
    ),
    shapes_of=lambda dims, constants: (
        2 * ((dims["queries"][0], ceil_div(dims["matrix"][0], constants["BLOCK_ROWS"]), constants["K"]),)
    ),
    grid_of=lambda dims, constants: (
        ceil_div(dims["matrix"][0], constants["BLOCK_ROWS"]),
        ceil_div(dims["queries"][0], constants["QUERY_BLOCK"]),
    ),
)

TOP_K_MERGE = Contract(
    name="top_k_merge",
    module="kernels.similarity_top_k.kernel",
    inputs=(Argument("scores", "fp32", 2), Argument("ids", "i32", 2)),
    sizes=("count", "chunks"),
    outputs=(Argument("best_scores", "fp32", 3), Argument("best_ids", "i32", 3)),
    constants=("K",),
    tuned=("BLOCK",),
    sizes_of=lambda dims, constants: (dims["scores"][1], ceil_div(dims["scores"][1], constants["BLOCK"])),
    shapes_of=lambda dims, constants: (
        2 * ((dims["scores"][0], ceil_div(dims["scores"][1], constants["BLOCK"]), constants["K"]),)
    ),
    grid_of=lambda dims, constants: (dims["scores"][0], ceil_div(dims["scores"][1], constants["BLOCK"])),
)


def constants(features: int, k: int, block_features: int) -> dict[str, int]:
    """What an index fixes; features are taken `block_features` at a time."""
    return {
        "FEATURES": features,
        "FEATURE_BLOCK": ceil_div(features, block_features) * block_features,
        "K": k,
        "QUERY_BLOCK": QUERY_BLOCK,
    }
