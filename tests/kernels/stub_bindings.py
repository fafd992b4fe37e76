"""TensorRT's real Python bindings over stub libraries, in a process that was started with these on its library path."""

import importlib
import sys
from typing import Any


def load() -> tuple[Any, Any]:
    """`tensorrt` and `tensorrt.plugin`, under the names that they have where TensorRT is installed."""
    trt = sys.modules["tensorrt"] = importlib.import_module("tensorrt_bindings")
    trtp = sys.modules["tensorrt.plugin"] = importlib.import_module("tensorrt_bindings.plugin")
    return trt, trtp
