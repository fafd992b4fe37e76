"""How a linear layer is stored and multiplied in a TensorRT network: the one place where precision differs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from services.executor.models.tensorrt_graph import TensorRtGraph

GROUP = 128
LARGEST = {"INT8": 127.0, "FP8": 448.0, "INT4": 7.0}
SMALLEST_SCALE = 2.0**-24  # the least above 0 that float16 holds
BYTES_A_WEIGHT: Mapping[str, float] = {"bf16": 2.0, "fp16": 2.0, "int8": 1.0, "fp8": 1.0, "int4": 0.5 + 2 / GROUP}
Kind = Literal["full", "int8", "fp8", "int4"]


@dataclass(frozen=True)
class Precision:
    """`full` keeps the activations' type; `int4` stores weights in groups of inputs; `int8` and `fp8` quantise both.

    Scales are of the activations' type, as strong typing asks. `int8` and `fp8` need `largest_inputs`: by the first
    weight's name, the largest magnitude that a layer's input had on samples of what the model is for.
    """

    kind: Kind = "full"
    largest_inputs: Mapping[str, float] = field(default_factory=dict)


def linear(graph: TensorRtGraph, x: Any, weight: NDArray[np.float32], precision: Precision, name: str) -> Any:
    """`x @ weight.T`, `weight` `[out, in]`.

    Raises:
        ValueError: the layer's input was not calibrated, or groups do not divide its features.
    """
    stored = graph.constant(weight)
    if precision.kind == "int4":
        stored = _grouped(graph, stored, weight, name)
    elif precision.kind != "full":
        kind = precision.kind.upper()
        if name not in precision.largest_inputs:
            raise ValueError(f"largest_inputs: {name} is missing, expected the largest magnitude of its layer's input")
        step = max(precision.largest_inputs[name] / LARGEST[kind], SMALLEST_SCALE)
        x = graph.quantised(x, graph.constant(np.array(step)), kind)
        steps = np.maximum(np.abs(weight).max(axis=1) / LARGEST[kind], SMALLEST_SCALE)
        stored = graph.quantised(stored, graph.constant(steps), kind, axis=0)
    return graph.product(x, graph.reshape(stored, [1, *weight.shape]), transposed=True)


def _grouped(graph: TensorRtGraph, stored: Any, weight: NDArray[np.float32], name: str) -> Any:
    out, features = weight.shape
    if features % GROUP:
        raise ValueError(f"{name}: {features} inputs, expected a multiple of {GROUP} for int4")
    largest = np.abs(weight).reshape(out, -1, GROUP).max(axis=-1)
    scales = graph.constant(np.maximum(largest / LARGEST["INT4"], SMALLEST_SCALE))
    return graph.quantised(stored, scales, "INT4", block_shape=(1, GROUP))
