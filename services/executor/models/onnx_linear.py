"""How a linear layer's weights are stored and multiplied in an ONNX graph: the one place where precision differs."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.executor.models.onnx_graph import CONTRIB, GraphBuilder

# Inputs to a scale: the first that divides their number, or else the last, padded. With 128, onnxruntime 1.32's kernel
# gives the last of an odd number of rows other bits, and padding to even numbers costs more than 64 does.
BLOCKS = (64, 32)
ROWS_AT_ONCE = 4096  # outputs that are quantised together, which takes several times their float32 for a moment
LARGEST_ROW_WEIGHT = 63
LARGEST_ACTIVATION = 127
SMALLEST_ROW_MAXIMUM = 1e-9

Array = NDArray[np.float32]


class Linear(Protocol):
    """Adds `x @ weight.T + bias` to a graph; `weight` is `[out, in]`."""

    def __call__(self, graph: GraphBuilder, x: str, weight: Array, bias: Array | None) -> str:
        """Returns the product's edge."""


def full_linear(graph: GraphBuilder, x: str, weight: Array, bias: Array | None) -> str:
    """float32 throughout; the weight is used as it lies on disk."""
    product = graph.node("FusedMatMul", [x, graph.constant(weight)], CONTRIB, transB=1)
    return product if bias is None else graph.node("Add", [product, graph.constant(bias)])


def block_int8_linear(graph: GraphBuilder, x: str, weight: Array, bias: Array | None) -> str:
    """Weights in int8 with a scale for every 64 inputs: a quarter of the bytes read, for decoding.

    Activations are quantised in the kernel, each row and block by itself, so a row's result depends on that row alone.
    """
    return _block_linear(graph, x, weight, bias, 8, quantise_blocks(weight))


def block_int4_linear(graph: GraphBuilder, x: str, weight: Array, bias: Array | None) -> str:
    """Weights in 4 bits with a scale for every 32 inputs: an eighth of the bytes, at a loss that must be measured.

    Activations as in `block_int8_linear`.
    """
    return _block_linear(graph, x, weight, bias, 4, quantise_nibbles(weight))


def _block_linear(
    graph: GraphBuilder, x: str, weight: Array, bias: Array | None, bits: int, stored: tuple[NDArray[np.uint8], Array]
) -> str:
    packed, scales = stored
    inputs = [x, graph.constant(packed), graph.constant(scales), "", "", "" if bias is None else graph.constant(bias)]
    out, features = weight.shape
    block = packed.shape[2] * 8 // bits
    sizes = {"N": out, "K": features, "bits": bits, "block_size": block}
    return graph.node("MatMulNBits", inputs, CONTRIB, accuracy_level=4, **sizes)


def row_int8_linear(graph: GraphBuilder, x: str, weight: Array, bias: Array | None) -> str:
    """Integer products: activations with a scale a row, weights with one an output; for many rows at a time.

    A row is divided by its largest magnitude before it is quantised, so its result depends on that row alone, which
    DynamicQuantizeMatMul's one range for the whole tensor does not give. Weights stay within 7 bits: the sums of two
    products then fit 16 bits, and CPUs with and without VNNI give the same integers.
    """
    largest = np.maximum(np.abs(weight).max(axis=1), SMALLEST_ROW_MAXIMUM)
    scales = (largest / LARGEST_ROW_WEIGHT).astype(np.float32)
    quantised = np.rint(weight / scales[:, None]).astype(np.int8)
    steps, maximum = graph.once(f"{x} in rows of int8", lambda: _quantise_rows(graph, x))
    step, middle = _activation_scale(graph)
    factors = [steps, graph.constant(quantised.T), step, graph.constant(scales), middle]
    product = graph.node("Mul", [graph.node("MatMulIntegerToFloat", factors, CONTRIB), maximum])
    return product if bias is None else graph.node("Add", [product, graph.constant(bias)])


def _quantise_rows(graph: GraphBuilder, x: str) -> tuple[str, str]:
    """`x` in bytes of which 128 stands for 0, and what each row was divided by."""
    maximum = graph.node("ReduceMax", [graph.node("Abs", [x]), graph.constant(np.array([-1]), "last axis")])
    floor = graph.constant(np.array(SMALLEST_ROW_MAXIMUM, np.float32), "smallest row maximum")
    maximum = graph.node("Max", [maximum, floor])
    step, middle = _activation_scale(graph)
    return graph.node("QuantizeLinear", [graph.node("Div", [x, maximum]), step, middle]), maximum


def _activation_scale(graph: GraphBuilder) -> tuple[str, str]:
    step = graph.constant(np.array(1 / LARGEST_ACTIVATION, np.float32), "activation step")
    return step, graph.constant(np.array(128, np.uint8), "activation zero")


def quantise_blocks(weight: Array) -> tuple[NDArray[np.uint8], Array]:
    """`[out, in]` to bytes `[out, blocks, block]`, of which 128 stands for 0, and scales `[out, blocks]`."""
    return _in_parts(_quantise_blocks, weight)


def _quantise_blocks(weight: Array) -> tuple[NDArray[np.uint8], Array]:
    features = weight.shape[1]
    blocks = _cut(weight, next((size for size in BLOCKS if features % size == 0), BLOCKS[-1]))
    scales = np.abs(blocks).max(axis=-1) / np.float32(127)
    steps = np.rint(blocks / np.where(scales == 0, np.float32(1), scales)[..., None])
    return (steps + 128).astype(np.uint8), scales


def quantise_nibbles(weight: Array) -> tuple[NDArray[np.uint8], Array]:
    """`[out, in]` to pairs of 4 bits `[out, blocks, 16]`, low ones first, 8 for 0, and scales `[out, blocks]`.

    A block's largest value, sign included, becomes the one end of -8 to 7 that has no opposite.
    """
    return _in_parts(_quantise_nibbles, weight)


def _quantise_nibbles(weight: Array) -> tuple[NDArray[np.uint8], Array]:
    blocks = _cut(weight, BLOCKS[-1])
    ends = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1)[..., None], axis=-1)
    scales = ends / np.float32(-8)
    steps = np.rint(blocks / np.where(scales == 0, np.float32(1), scales))
    nibbles = np.clip(steps + 8, 0, 15).astype(np.uint8)
    return nibbles[..., ::2] | nibbles[..., 1::2] << 4, scales[..., 0]


def _in_parts(
    quantise: Callable[[Array], tuple[NDArray[np.uint8], Array]], weight: Array
) -> tuple[NDArray[np.uint8], Array]:
    starts = range(0, len(weight), ROWS_AT_ONCE)
    bytes_, scales = zip(*(quantise(weight[start : start + ROWS_AT_ONCE]) for start in starts), strict=True)
    return np.concatenate(bytes_), np.concatenate(scales)


def _cut(weight: Array, size: int) -> Array:
    out, features = weight.shape
    return np.pad(weight, ((0, 0), (0, -features % size))).reshape(out, -1, size)


DECODER_LINEARS: Mapping[str, Linear] = {
    "fp32": full_linear,
    "int8": block_int8_linear,
    "int4": block_int4_linear,
    "w8a8": row_int8_linear,
}
BYTES_A_WEIGHT: Mapping[str, float] = {  # as kernels hold them, scales included, at most
    "fp32": 4.0,
    "int8": 1 + 4 / BLOCKS[-1],
    "int4": 0.5 + 4 / BLOCKS[-1],
    "w8a8": 1.0,
}
ENCODER_LINEARS: Mapping[str, Linear] = {"fp32": full_linear, "int8": row_int8_linear}
