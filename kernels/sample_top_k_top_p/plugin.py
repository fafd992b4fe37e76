"""The contracts of sampling: a plugin has one kernel and no workspace, so candidates and the draw are two of them."""

from kernels.contract import Argument, Contract, ceil_div, next_power_of_two

_LOGITS, _TEMPERATURE = Argument("logits", "fp32", 2), Argument("temperature", "fp32", 1)
_CANDIDATES = (Argument("candidates", "fp32", 3), Argument("ids", "i32", 3), Argument("statistics", "fp32", 3))

SAMPLE_CANDIDATES = Contract(
    name="sample_candidates",
    module="kernels.sample_top_k_top_p.kernel",
    inputs=(_LOGITS, _TEMPERATURE),
    outputs=_CANDIDATES,
    constants=("VOCABULARY", "ROW_STRIDE"),
    tuned=("CAP", "BLOCK"),
    shapes_of=lambda dims, constants: tuple(
        (dims["logits"][0], ceil_div(constants["VOCABULARY"], constants["BLOCK"]), size)
        for size in (constants["CAP"], constants["CAP"], 3)
    ),
    grid_of=lambda dims, constants: (dims["logits"][0], ceil_div(constants["VOCABULARY"], constants["BLOCK"])),
)

SAMPLE_TOP_K_TOP_P = Contract(
    name="sample_top_k_top_p",
    module="kernels.sample_top_k_top_p.kernel",
    inputs=(
        _LOGITS,
        _TEMPERATURE,
        Argument("top_k", "i32", 1),
        Argument("top_p", "fp32", 1),
        Argument("uniform", "fp32", 1),
        *_CANDIDATES,
    ),
    outputs=(Argument("token", "i32", 1),),
    constants=("VOCABULARY", "ROW_STRIDE", "CAP", "CHUNKS", "CHUNK_BLOCK"),
    tuned=("BLOCK",),
    shapes_of=lambda dims, constants: ((dims["logits"][0],),),
    grid_of=lambda dims, constants: (dims["logits"][0],),
)


def candidate_constants(vocabulary: int, row_stride: int | None = None) -> dict[str, int]:
    """What a model fixes; `row_stride` elements lie between two rows of logits."""
    return {"VOCABULARY": vocabulary, "ROW_STRIDE": row_stride or vocabulary}


def draw_constants(vocabulary: int, cap: int, block: int, row_stride: int | None = None) -> dict[str, int]:
    """What a model and the first kernel's configuration, `cap` candidates of `block` logits, fix."""
    chunks = ceil_div(vocabulary, block)
    return {
        **candidate_constants(vocabulary, row_stride),
        "CAP": cap,
        "CHUNKS": chunks,
        "CHUNK_BLOCK": next_power_of_two(chunks),
    }
