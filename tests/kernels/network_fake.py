"""A TensorRT network that evaluates itself in NumPy: what is emitted is checked by name against the real bindings, by
type as strong typing would, and by what it computes."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_dtypes import float8_e4m3fn
from scipy.special import erf

from kernels import tensorrt_plugins
from tests.kernels import plugin_references

_SIGNATURE = re.compile(r"^\w+\((.*)\) -> (?:tensorrt_bindings\.tensorrt\.)?(\w+)")


class Tensor:
    """A value that was computed; `shape` as ITensor has it."""

    def __init__(self, value: Any) -> None:
        self.value = np.asarray(value)
        self.name = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape


class Layer:
    """A layer of a real class, whose attributes alone it takes; evaluated when its output is asked for."""

    def __init__(self, real: Any, evaluate: Any, inputs: Sequence[Any]) -> None:
        self.__dict__.update(_real=real, _evaluate=evaluate, _inputs=list(inputs), _set={}, _outputs=None)

    def __setattr__(self, name: str, value: Any) -> None:
        assert hasattr(self._real, name), f"{self._real.__name__} has no {name}"
        self._set[name] = value

    def set_input(self, place: int, tensor: Tensor) -> None:
        self._inputs.extend([None] * (place + 1 - len(self._inputs)))
        self._inputs[place] = tensor

    def get_output(self, place: int) -> Tensor:
        if self._outputs is None:
            self.__dict__["_outputs"] = self._evaluate(self._inputs, self._set)
        return self._outputs[place]


class Condition:
    """An if of which both sides were computed; only the chosen one counts."""

    def set_condition(self, tensor: Tensor) -> None:
        assert tensor.value.dtype == bool
        assert tensor.shape == ()
        self.held = bool(tensor.value)

    def add_input(self, tensor: Tensor) -> Any:
        return Layer(Layer, lambda inputs, _: [Tensor(inputs[0].value)], [tensor])

    def add_output(self, one: Tensor, other: Tensor) -> Any:
        assert one.shape == other.shape
        assert one.value.dtype == other.value.dtype
        return Layer(Layer, lambda inputs, _: [inputs[0] if self.held else inputs[1]], [one, other])


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
        assert np.dtype(self._trt.nptype(kind)) == value.dtype, name
        assert len(shape) == value.ndim, name
        assert all(size in (-1, real) for size, real in zip(shape, value.shape, strict=True)), name
        return Tensor(value)

    def _mark_output(self, tensor: Tensor) -> None:
        self.outputs[tensor.name] = tensor.value

    def _if_conditional(self) -> Condition:
        return Condition()

    def _constant(self, inputs: Any, _: Any) -> Any:
        shape, weights = inputs
        return np.array(weights.numpy()).reshape(shape)

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
            return 1 / (1 + np.exp(-x))
        assert inputs[1].name == "GELU_ERF"
        return (x * 0.5 * (1 + erf(x / np.sqrt(2)))).astype(x.dtype)

    def _reduce(self, inputs: Any, _: Any) -> Any:
        tensor, operation, axes, keep = inputs
        chosen = tuple(axis for axis in range(tensor.value.ndim) if axes >> axis & 1)
        return {"AVG": np.mean, "SUM": np.sum}[operation.name](tensor.value, axis=chosen, keepdims=keep)

    def _cast(self, inputs: Any, _: Any) -> Any:
        return inputs[0].value.astype(self._trt.nptype(inputs[1]))

    def _matrix_multiply(self, inputs: Any, _: Any) -> Any:
        first, _, second, turned = inputs
        assert first.value.dtype == second.value.dtype
        assert first.value.ndim == second.value.ndim
        return first.value @ (second.value.swapaxes(-1, -2) if turned.name == "TRANSPOSE" else second.value)

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
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(given["epsilon"])) * scale + bias
        )

    def _quantize(self, inputs: Any, given: Any) -> Any:
        value, scale = inputs[0].value, _spread(inputs[1].value, inputs[0].value, given)
        if inputs[2].name == "FP8":
            return np.clip(value / scale, -448, 448).astype(float8_e4m3fn)
        limit = {"INT8": 127, "INT4": 7}[inputs[2].name]
        return np.clip(np.rint(value / scale), -limit - 1, limit).astype(np.int8)

    def _dequantize(self, inputs: Any, given: Any) -> Any:
        scale = _spread(inputs[1].value, inputs[0].value, given)
        return (inputs[0].value.astype(np.float32) * scale).astype(self._trt.nptype(inputs[2]))

    def _attention_v2(self, inputs: Any, given: Any) -> Any:
        queries, keys, values = (tensor.value for tensor in inputs[:3])
        group = queries.shape[1] // keys.shape[1]
        scores = queries @ keys.repeat(group, 1).swapaxes(-1, -2)
        if "mask" in given:
            assert given["mask"].value.dtype == bool
            scores = np.where(given["mask"].value, scores, -np.inf)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return (powers / powers.sum(-1, keepdims=True)) @ values.repeat(group, 1)

    def _plugin(self, inputs: Any, _: Any) -> Any:
        definition, ahead = inputs
        assert ahead is True
        return definition()


class Plugins:
    """`tensorrt.plugin.op.fulcrum`: each checks its arguments as registered and computes by the kernel's reference."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def __getattr__(self, name: str) -> Any:
        plugin = self._registry[f"{tensorrt_plugins.NAMESPACE}::{name}"]

        def define(*inputs: Tensor, build: str) -> Any:
            assert len(inputs) == len(plugin.input_tensor_names)
            given = json.loads(build)
            contract = next(one for one in tensorrt_plugins.CONTRACTS if one.name == name)
            assert set(given["constants"]) == set(contract.constants)
            values = {one.name: tensor.value for one, tensor in zip(contract.inputs, inputs, strict=True)}
            for one in contract.inputs:
                kind = {"fp32": "f4", "fp16": "f2", "i32": "i4"}[contract.element_type(one, given["activation"])]
                assert values[one.name].dtype == kind, f"{name}: {one.name} is {values[one.name].dtype}"
                assert values[one.name].ndim == one.rank, f"{name}: {one.name} has shape {values[one.name].shape}"
            return lambda: plugin_references.REFERENCES[name](values, given)

        return define


def _spread(scale: Any, value: Any, given: Any) -> Any:
    """Scales as wide as what they scale."""
    if "block_shape" in given:
        return np.repeat(scale, given["block_shape"][1], axis=1)
    return scale[:, None] if "axis" in given else scale


def _tensors(values: Any) -> list[Tensor]:
    return [Tensor(value) for value in (values if isinstance(values, list | tuple) else [values])]
