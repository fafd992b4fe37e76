"""How a linear layer's weights are stored and multiplied in an ONNX graph: the one place where precision differs."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.executor.models.onnx_graph import CONTRIB, GraphBuilder

BLOCK = 32
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
    """Weights in int8 with a scale for every 32 inputs: a quarter of the bytes read, for decoding.

    Activations are quantised in the kernel, each row and block by itself, so a row's result depends on that row alone.
    """
    packed, scales = quantise_blocks(weight)
    inputs = [x, graph.constant(packed), graph.constant(scales), "", "", "" if bias is None else graph.constant(bias)]
    out, features = weight.shape
    sizes = {"N": out, "K": features, "bits": 8, "block_size": BLOCK}
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
    maximum = graph.node("ReduceMax", [graph.node("Abs", [x]), graph.constant(np.array([-1]), "last axis")])
    floor = graph.constant(np.array(SMALLEST_ROW_MAXIMUM, np.float32), "smallest row maximum")
    maximum = graph.node("Max", [maximum, floor])
    step = graph.constant(np.array(1 / LARGEST_ACTIVATION, np.float32), "activation step")
    middle = graph.constant(np.array(128, np.uint8), "activation zero")
    steps = graph.node("QuantizeLinear", [graph.node("Div", [x, maximum]), step, middle])
    factors = [steps, graph.constant(quantised.T), step, graph.constant(scales), middle]
    product = graph.node("Mul", [graph.node("MatMulIntegerToFloat", factors, CONTRIB), maximum])
    return product if bias is None else graph.node("Add", [product, graph.constant(bias)])


def quantise_blocks(weight: Array) -> tuple[NDArray[np.uint8], Array]:
    """`[out, in]` to bytes `[out, blocks, 32]`, of which 128 stands for 0, and scales `[out, blocks]`."""
    out, features = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -features % BLOCK))).reshape(out, -1, BLOCK)
    scales = np.abs(padded).max(axis=-1) / np.float32(127)
    steps = np.rint(padded / np.where(scales == 0, np.float32(1), scales)[..., None])
    return (steps + 128).astype(np.uint8), scales


DECODER_LINEARS: Mapping[str, Linear] = {"fp32": full_linear, "int8": block_int8_linear}
ENCODER_LINEARS: Mapping[str, Linear] = {"fp32": full_linear, "int8": row_int8_linear}
