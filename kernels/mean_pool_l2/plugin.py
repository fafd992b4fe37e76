"""The contract of masked mean pooling to unit length."""

from kernels.contract import ACTIVATION, Argument, Contract, next_power_of_two

MEAN_POOL_L2 = Contract(
    name="mean_pool_l2",
    module="kernels.mean_pool_l2.kernel",
    inputs=(Argument("x", ACTIVATION, 3), Argument("mask", "i32", 2)),
    sizes=("positions",),
    outputs=(Argument("pooled", "fp32", 2),),
    constants=("FEATURES", "POSITION_STRIDE", "FEATURE_BLOCK"),
    tuned=("BLOCK_POSITIONS", "STAGES"),
    sizes_of=lambda dims, constants: (dims["mask"][1],),
    shapes_of=lambda dims, constants: ((dims["mask"][0], constants["FEATURES"]),),
    grid_of=lambda dims, constants: (dims["mask"][0],),
)


def constants(features: int, position_stride: int | None = None) -> dict[str, int]:
    """What a model fixes; `position_stride` elements lie between two positions of `x`."""
    return {
        "FEATURES": features,
        "POSITION_STRIDE": position_stride or features,
        "FEATURE_BLOCK": next_power_of_two(features),
    }
