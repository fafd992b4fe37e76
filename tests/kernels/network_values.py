"""What TensorRT's network fake is made of: bindings that lend weights, tensors that hold values, layers, an if."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_dtypes import bfloat16, float8_e4m3fn

KINDS = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "BF16": bfloat16,
    "INT32": np.int32,
    "INT64": np.int64,
    "INT8": np.int8,
    "FP8": float8_e4m3fn,
    "BOOL": np.bool_,
}


class Bindings:
    """The real bindings, but for what is given here by name and for weights, which tell their address."""

    def __init__(self, trt: Any, **instead: Any) -> None:
        self._trt = trt
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._trt, name)

    def Weights(self, kind: Any, address: int, size: int) -> Any:
        assert self._trt.Weights(kind, address, size).size == size
        return Stored(kind, address, size)


class Stored(NamedTuple):
    """Weights, read when their layer is evaluated: whoever holds them must still do so then."""

    kind: Any
    address: int
    size: int

    def numpy(self) -> Any:
        kind = np.dtype(KINDS[self.kind.name])
        return np.frombuffer(ctypes.string_at(self.address, self.size * kind.itemsize), kind)


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


def spread(scale: Any, value: Any, given: Any) -> Any:
    """Scales as wide as what they scale: one for all, one a place of `axis`, or one a block."""
    held = wide(scale)
    if "block_shape" in given:
        down, along = given["block_shape"]
        return np.repeat(np.repeat(held, down, axis=0), along, axis=1)
    if "axis" not in given:
        assert scale.ndim == 0
        return held
    assert scale.shape == (value.shape[given["axis"]],)
    return held.reshape([-1 if axis == given["axis"] else 1 for axis in range(value.ndim)])


def wide(value: Any) -> Any:
    """In float32, in which it is computed."""
    return value.astype(np.float32)
