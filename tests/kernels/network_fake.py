"""A TensorRT network that evaluates itself in NumPy: what is emitted is checked by name against the real bindings, by
type as strong typing would, and by what it computes, whose attributes it reads as TensorRT's documents say."""

import re
from typing import Any

import numpy as np
from ml_dtypes import float8_e4m3fn
from scipy.special import erf

from tests.kernels.network_values import KINDS, Condition, Layer, Tensor, spread, wide

_SIGNATURE = re.compile(r"^\w+\((.*)\) -> (?:tensorrt_bindings\.tensorrt\.)?(\w+)")


class Network:
    """An INetworkDefinition.

    Args:
        trt: the real bindings.
        feeds: values of the inputs by name.
    """

    def __init__(self, trt: Any, feeds: dict[str, Any]) -> None:
        self._trt = trt
        self._feeds = feeds
        self.outputs: dict[str, Any] = {}
        self.called: set[str] = set()

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._trt.INetworkDefinition, method)
        found = _SIGNATURE.match(real.__doc__.splitlines()[0])
        layer = getattr(self._trt, found[2], None) if found else self._trt.IPluginV3Layer
        self.called.add(method)

        def add(*arguments: Any) -> Any:
            if found:
                assert len(arguments) == found[1].count(":") - 1, f"{method} takes {found[1]}"
            evaluate = getattr(self, f"_{method.removeprefix('add_')}")
            if method in ("add_input", "mark_output", "add_if_conditional"):
                return evaluate(*arguments)
            return Layer(layer, lambda inputs, given: _tensors(evaluate(inputs, given)), arguments)

        return add

    def _input(self, name: str, kind: Any, shape: tuple[int, ...]) -> Tensor:
        value = np.asarray(self._feeds[name])
        assert KINDS[kind.name] == value.dtype, name
        assert len(shape) == value.ndim, name
        assert all(size in (-1, real) for size, real in zip(shape, value.shape, strict=True)), name
        return Tensor(value)

    def _mark_output(self, tensor: Tensor) -> None:
        self.outputs[tensor.name] = tensor.value

    def _if_conditional(self) -> Condition:
        return Condition()

    def _constant(self, inputs: Any, _: Any) -> Any:
        shape, weights = inputs
        return weights.numpy().reshape(shape)

    def _gather(self, inputs: Any, given: Any) -> Any:
        data, indices, axis = inputs[0].value, inputs[1].value, inputs[2]
        if given.get("num_elementwise_dims"):
            return np.stack([np.take(row, at, axis - 1) for row, at in zip(data, indices, strict=True)])
        return np.take(data, indices, axis)

    def _elementwise(self, inputs: Any, _: Any) -> Any:
        first, second, operation = inputs[0].value, inputs[1].value, inputs[2]
        assert first.dtype == second.dtype, f"{operation}: {first.dtype} and {second.dtype}"
        assert first.ndim == second.ndim, f"{operation}: {first.shape} and {second.shape}"
        names = {"SUM": np.add, "SUB": np.subtract, "PROD": np.multiply, "DIV": np.divide, "EQUAL": np.equal}
        return {**names, "GREATER": np.greater, "AND": np.logical_and}[operation.name](first, second)

    def _unary(self, inputs: Any, _: Any) -> Any:
        return {"SQRT": np.sqrt, "NOT": np.logical_not}[inputs[1].name](inputs[0].value)

    def _activation(self, inputs: Any, _: Any) -> Any:
        x = inputs[0].value
        if inputs[1].name == "SIGMOID":
            return (1 / (1 + np.exp(-wide(x)))).astype(x.dtype)
        assert inputs[1].name == "GELU_ERF"
        return (wide(x) * 0.5 * (1 + erf(wide(x) / np.sqrt(2)))).astype(x.dtype)

    def _reduce(self, inputs: Any, _: Any) -> Any:
        tensor, operation, axes, keep = inputs
        chosen = tuple(axis for axis in range(tensor.value.ndim) if axes >> axis & 1)
        found = {"AVG": np.mean, "SUM": np.sum}[operation.name](wide(tensor.value), axis=chosen, keepdims=keep)
        return found.astype(tensor.value.dtype)

    def _cast(self, inputs: Any, _: Any) -> Any:
        return inputs[0].value.astype(KINDS[inputs[1].name])

    def _matrix_multiply(self, inputs: Any, _: Any) -> Any:
        first, _, second, turned = inputs
        assert first.value.dtype == second.value.dtype
        assert first.value.ndim == second.value.ndim
        right = wide(second.value)
        product = wide(first.value) @ (right.swapaxes(-1, -2) if turned.name == "TRANSPOSE" else right)
        return product.astype(first.value.dtype)

    def _shuffle(self, inputs: Any, given: Any) -> Any:
        value = inputs[0].value
        if "first_transpose" in given:
            value = value.transpose(given["first_transpose"])
        if len(inputs) > 1:
            return value.reshape(inputs[1].value)
        return value.reshape(given["reshape_dims"]) if "reshape_dims" in given else value

    def _slice(self, inputs: Any, _: Any) -> Any:
        tensor, start, _, _ = inputs[0], inputs[1], inputs[2], inputs[3]
        return tensor.value[tuple(slice(at, at + int(size)) for at, size in zip(start, inputs[2].value, strict=True))]

    def _shape(self, inputs: Any, _: Any) -> Any:
        return np.array(inputs[0].shape, np.int64)

    def _concatenation(self, inputs: Any, given: Any) -> Any:
        assert len({part.value.dtype for part in inputs[0]}) == 1
        return np.concatenate([part.value for part in inputs[0]], axis=given.get("axis", 0))

    def _normalization_v2(self, inputs: Any, given: Any) -> Any:
        x, scale, bias, axes = inputs[0].value, inputs[1].value, inputs[2].value, inputs[3]
        assert axes == 1 << (x.ndim - 1)
        assert x.dtype == scale.dtype == bias.dtype
        centred = wide(x) - wide(x).mean(-1, keepdims=True)
        length = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(given["epsilon"]))
        return (centred / length * wide(scale) + wide(bias)).astype(x.dtype)

    def _quantize(self, inputs: Any, given: Any) -> Any:
        assert inputs[0].value.dtype == inputs[1].value.dtype, "an input and its scale are of one type"
        value, scale = wide(inputs[0].value), spread(inputs[1].value, inputs[0].value, given)
        limit = {"FP8": 448, "INT8": 127, "INT4": 7}[inputs[2].name]
        if scale.ndim:  # weights, which no scale of theirs may cut off
            assert np.abs(value / scale).max() < 1.01 * limit
        if inputs[2].name == "FP8":
            return np.clip(value / scale, -limit, limit).astype(float8_e4m3fn)
        return np.clip(np.rint(value / scale), -limit - 1, limit).astype(np.int8)

    def _dequantize(self, inputs: Any, given: Any) -> Any:
        kind = KINDS[inputs[2].name]
        assert inputs[1].value.dtype == kind, "a scale and what it gives are of one type"
        return (wide(inputs[0].value) * spread(inputs[1].value, inputs[0].value, given)).astype(kind)

    def _attention_v2(self, inputs: Any, given: Any) -> Any:
        assert len({tensor.value.dtype for tensor in inputs[:3]}) == 1
        queries, keys, values = (wide(tensor.value) for tensor in inputs[:3])
        normalised, causal = inputs[3].name, inputs[4].name
        group = queries.shape[1] // keys.shape[1]
        scores = queries @ keys.repeat(group, 1).swapaxes(-1, -2)
        if "mask" in given:
            assert given["mask"].value.dtype == bool
            assert causal == "NONE", "a mask cannot be set together with a causal one"
            scores = np.where(given["mask"].value, scores, -np.inf)
        if causal != "NONE":
            behind = 0 if causal == "UPPER_LEFT" else scores.shape[3] - scores.shape[2]
            scores = np.where(np.tri(*scores.shape[2:], behind, bool), scores, -np.inf)
        if normalised == "SOFTMAX":
            powers = np.exp(scores - scores.max(-1, keepdims=True))
            scores = powers / powers.sum(-1, keepdims=True)
        return (scores @ values.repeat(group, 1)).astype(inputs[0].value.dtype)

    def _plugin(self, inputs: Any, _: Any) -> Any:
        definition, ahead = inputs
        assert ahead is True
        return definition()


def _tensors(values: Any) -> list[Tensor]:
    return [Tensor(value) for value in (values if isinstance(values, list | tuple) else [values])]
