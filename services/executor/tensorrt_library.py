"""The one file that imports TensorRT: with our plugins registered, or with a clear error where it is missing."""

from functools import cache
from typing import Any, NamedTuple

from kernels import tensorrt_plugins

LEAST_MAJOR = 11
EXPECTED = "expected `pip install tensorrt` of 11 or later, with its libraries, and `pip install triton`"


class TensorRtMissing(OSError):
    """TensorRT of 11 or later, the libraries below it or Triton cannot be loaded; the message says what is wanted."""


class TensorRt(NamedTuple):
    """The modules `tensorrt` and `tensorrt.plugin`."""

    trt: Any
    plugin: Any

    @property
    def plugins(self) -> Any:
        """Our plugins by name, to be called with tensors."""
        return getattr(self.plugin.op, tensorrt_plugins.NAMESPACE)


@cache
def load_tensorrt() -> TensorRt:
    """Imports TensorRT and registers our plugins, once a process.

    Raises:
        TensorRtMissing: it is not installed, or its libraries are not found.
    """
    try:
        import tensorrt
        import tensorrt.plugin

        tensorrt_plugins.kernels_version()  # needs Triton, by which the plugins are compiled
    except (ImportError, OSError) as error:
        raise TensorRtMissing(f"TensorRT cannot be loaded: {error}; {EXPECTED}") from error
    found = tensorrt.__version__
    if int(found.split(".")[0]) < LEAST_MAJOR:
        raise TensorRtMissing(f"TensorRT cannot be loaded: it is {found}; {EXPECTED}")
    tensorrt_plugins.register(tensorrt, tensorrt.plugin)
    return TensorRt(tensorrt, tensorrt.plugin)
