"""Our plugins as a network calls them, without TensorRT: arguments held to the contract, results by the references."""

import json
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from kernels import tensorrt_plugins
from tests.kernels import plugin_references
from tests.kernels.network_values import Tensor

PLUGIN_KINDS = {"fp32": np.float32, "fp16": np.float16, "bf16": bfloat16, "i32": np.int32}


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
                kind = PLUGIN_KINDS[contract.element_type(one, given["activation"])]
                assert values[one.name].dtype == kind, f"{name}: {one.name} is {values[one.name].dtype}"
                assert values[one.name].ndim == one.rank, f"{name}: {one.name} has shape {values[one.name].shape}"
            return lambda: plugin_references.REFERENCES[name](values, given)

        return define
