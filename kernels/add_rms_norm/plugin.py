"""The contracts of add + RMS norm, one program a row."""

from kernels.contract import ACTIVATION, Argument, Contract, next_power_of_two

_X = Argument("x", ACTIVATION, 2)
_RESIDUAL = Argument("residual", ACTIVATION, 2)
_WEIGHT = Argument("weight", ACTIVATION, 1)
_SCALE = Argument("scale", "fp32", 1)
_TOTAL = Argument("total", ACTIVATION, 2)
_CONSTANTS = ("FEATURES", "X_STRIDE", "EPSILON", "BLOCK")

ADD_RMS_NORM = Contract(
    name="add_rms_norm",
    module="kernels.add_rms_norm.kernel",
    inputs=(_X, _RESIDUAL, _WEIGHT),
    outputs=(Argument("normed", ACTIVATION, 2), _TOTAL),
    constants=_CONSTANTS,
    tuned=(),
    shapes_of=lambda dims, constants: (dims["residual"], dims["residual"]),
    grid_of=lambda dims, constants: (dims["residual"][0],),
)

ADD_RMS_NORM_FP8 = Contract(
    name="add_rms_norm_fp8",
    module="kernels.add_rms_norm.kernel",
    inputs=(_X, _RESIDUAL, _WEIGHT, _SCALE),
    outputs=(Argument("normed", "fp8e4nv", 2), _TOTAL),
    constants=_CONSTANTS,
    tuned=(),
    shapes_of=lambda dims, constants: (dims["residual"], dims["residual"]),
    grid_of=lambda dims, constants: (dims["residual"][0],),
    lowest_architecture=89,
)


def constants(features: int, epsilon: float, x_stride: int | None = None) -> dict[str, int | float]:
    """What a model fixes; `x_stride` elements lie between two rows of `x`, `features` unless it is given."""
    return {
        "FEATURES": features,
        "X_STRIDE": x_stride or features,
        "EPSILON": epsilon,
        "BLOCK": next_power_of_two(features),
    }
