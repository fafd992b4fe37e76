"""The contract of sampling: one program a row of logits."""

from kernels.contract import Argument, Contract

SAMPLE_TOP_K_TOP_P = Contract(
    name="sample_top_k_top_p",
    module="kernels.sample_top_k_top_p.kernel",
    inputs=(
        Argument("logits", "fp32", 2),
        Argument("temperature", "fp32", 1),
        Argument("top_k", "i32", 1),
        Argument("top_p", "fp32", 1),
        Argument("uniform", "fp32", 1),
    ),
    outputs=(Argument("token", "i32", 1),),
    constants=("VOCABULARY", "ROW_STRIDE"),
    tuned=("BLOCK",),
    shapes_of=lambda dims, constants: ((dims["logits"][0],),),
    grid_of=lambda dims, constants: (dims["logits"][0],),
)


def constants(vocabulary: int, row_stride: int | None = None) -> dict[str, int]:
    """What a model fixes; `row_stride` elements lie between two rows of logits."""
    return {"VOCABULARY": vocabulary, "ROW_STRIDE": row_stride or vocabulary}
