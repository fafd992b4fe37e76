"""The contract of the 4-bit product: rows are few, and padded to the 8 that tensor cores take."""

from kernels.contract import ACTIVATION, Argument, Contract, ceil_div

MOST_ROWS = 8
SMALLEST_DOT = 16
PARTS = 4

W4A16_GEMV = Contract(
    name="w4a16_gemv",
    module="kernels.w4a16_gemv.kernel",
    inputs=(Argument("x", ACTIVATION, 2), Argument("packed", "i8", 2), Argument("scales", ACTIVATION, 2)),
    sizes=("rows",),
    outputs=(Argument("product", ACTIVATION, 2),),
    constants=("FEATURES", "OUTPUTS", "GROUP", "X_STRIDE", "ROW_BLOCK"),
    tuned=("BLOCK_OUTPUTS", "BLOCK_GROUPS", "AHEAD"),
    sizes_of=lambda dims, constants: (dims["x"][0],),
    shapes_of=lambda dims, constants: ((dims["x"][0], constants["OUTPUTS"]),),
    grid_of=lambda dims, constants: (ceil_div(constants["OUTPUTS"], constants["BLOCK_OUTPUTS"]),),
)


def constants(features: int, outputs: int, group: int, x_stride: int | None = None) -> dict[str, int]:
    """What a model fixes; a group must be a power of two, for each quarter is a block of the product."""
    least = PARTS * SMALLEST_DOT
    if group < least or group & (group - 1) or features % group:
        raise ValueError(f"group: got {group}, expected a power of two from {least} on that divides {features}")
    return {
        "FEATURES": features,
        "OUTPUTS": outputs,
        "GROUP": group,
        "X_STRIDE": x_stride or features,
        "ROW_BLOCK": MOST_ROWS,
    }
