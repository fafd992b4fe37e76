"""Collects the nodes of one ONNX graph and, beside it, its constants: no size limit holds and none is copied."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

CONTRIB = "com.microsoft"
OPSETS = {"": 21, CONTRIB: 1}
IR_VERSION = 10
LARGEST_INLINE_BYTES = 1024


@dataclass(frozen=True)
class OnnxGraph:
    """A serialised model, and by name the constants that it leaves to be supplied."""

    model: bytes
    constants: Mapping[str, NDArray[Any]]


class GraphBuilder:
    """Grows a graph in the order of its evaluation; edges are named by strings."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._inline: list[onnx.TensorProto] = []
        self._external: dict[str, NDArray[Any]] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._named: dict[str, str] = {}
        self._shared: dict[str, tuple[str, str]] = {}

    def input(self, name: str, dtype: Any, shape: Sequence[int | str]) -> str:
        """Declares an input and returns its edge."""
        self._inputs.append(helper.make_tensor_value_info(name, _element_type(dtype), shape))
        return name

    def output(self, edge: str, name: str, dtype: Any, shape: Sequence[int | str]) -> None:
        """Declares `edge` an output under `name`."""
        if edge != name:
            self._nodes.append(helper.make_node("Identity", [edge], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _element_type(dtype), shape))

    def constant(self, value: NDArray[Any], key: str | None = None) -> str:
        """Adds a constant and returns its edge; equal keys are added once."""
        if key is not None and key in self._named:
            return self._named[key]
        edge = f"constant_{len(self._inline) + len(self._external)}"
        if value.nbytes <= LARGEST_INLINE_BYTES:
            self._inline.append(numpy_helper.from_array(value, edge))
        else:
            self._external[edge] = np.require(value, requirements=("C", "A"))
        if key is not None:
            self._named[key] = edge
        return edge

    def once(self, key: str, add: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        """The edges that `add` gave when it was called for this key: for what several operators share."""
        if key not in self._shared:
            self._shared[key] = add()
        return self._shared[key]

    def node(self, operator: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """Adds an operator of one output and returns its edge; an absent optional input is the empty string."""
        return self.nodes(operator, inputs, [f"edge_{len(self._nodes)}"], domain, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any
    ) -> Sequence[str]:
        """Adds an operator with the outputs named, and returns these."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return outputs

    def finish(self) -> OnnxGraph:
        """The graph so far."""
        placed = [_placeholder(edge, value) for edge, value in self._external.items()]
        graph = helper.make_graph(self._nodes, "model", self._inputs, self._outputs, [*self._inline, *placed])
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        return OnnxGraph(model.SerializeToString(), self._external)


def _element_type(dtype: Any) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _placeholder(edge: str, value: NDArray[Any]) -> onnx.TensorProto:
    """A tensor whose data the session is handed separately."""
    tensor = onnx.TensorProto(name=edge, data_type=_element_type(value.dtype), dims=value.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="supplied")
    return tensor
