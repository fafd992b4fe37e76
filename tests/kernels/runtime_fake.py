"""TensorRT's builder and runtime over the network that evaluates itself, on memory that the stub driver gave out.

Classes, methods and their argument counts are those of the real bindings, or it fails.
"""

import ctypes
import gc
import re
from typing import Any

import numpy as np

from services.executor.models.tensorrt_graph import TensorRtGraph
from tests.kernels.network_fake import Network
from tests.kernels.network_values import KINDS, Bindings


class Checked:
    """Forwards to itself what the real class `real` has, with as many arguments as it takes there."""

    real: Any

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name.startswith("_") or name == "real":
            return found
        real = getattr(object.__getattribute__(self, "real"), name)
        if not callable(found):
            return found

        def call(*arguments: Any) -> Any:
            shown = re.findall(rf"{name}\((self.*?)\) ->", re.sub("<.*?>", "", real.__doc__))
            taken = [(one.count(": ") - one.count(" = ") - 1, one.count(": ") - 1) for one in shown]
            assert any(least <= len(arguments) <= most for least, most in taken), f"{name} takes {shown}"
            return found(*arguments)

        return call


def fake_trt(trt: Any, plugins: Any, emitted: dict[str, Any]) -> Any:
    """`tensorrt` with a builder and a runtime; an engine runs `emitted["network"]` within `emitted["profiles"]`.

    `emitted["built"]` counts engines that were built, of which each must have been configured as ours need it.
    """

    class Anything(Checked):
        def __init__(self, real: Any) -> None:
            self.__dict__["real"] = real
            self.__dict__["_kept"] = {}

        def set_shape(self, name: str, least: Any, likeliest: Any, largest: Any) -> None:
            assert all(a <= b <= c for a, b, c in zip(least, likeliest, largest, strict=True))
            self._kept[name] = (least, likeliest, largest)

    class Config(Checked):
        real = trt.IBuilderConfig

        def __init__(self) -> None:
            self._profiles: list[Any] = []
            self._limits: dict[Any, int] = {}
            self._features: set[Any] = set()
            self._timings: bytes | None = None

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            self._limits[pool] = size

        def set_preview_feature(self, feature: Any, wanted: bool) -> None:
            (self._features.add if wanted else self._features.discard)(feature)

        def add_optimization_profile(self, profile: Any) -> None:
            self._profiles.append(profile._kept)

        def create_timing_cache(self, content: bytes) -> bytes:
            assert content == (b"timings" if emitted["built"] else b""), "timings of builds before are used"
            return content

        def set_timing_cache(self, cache: bytes, mismatch: bool) -> None:
            assert not mismatch
            self._timings = cache

        def get_timing_cache(self) -> Any:
            return Timings()

    class Timings(Checked):
        real = trt.ITimingCache

        def serialize(self) -> bytes:
            return b"timings"

    class Builder(Checked):
        real = trt.Builder

        def __init__(self, logger: Any) -> None:
            pass

        def create_network(self, flags: int) -> Network:
            names = trt.NetworkDefinitionCreationFlag
            assert flags == 1 << int(names.STRONGLY_TYPED) | 1 << int(names.PREFER_AOT_PYTHON_PLUGINS)
            return Network(trt, {})

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Anything:
            return Anything(trt.IOptimizationProfile)

        def build_serialized_network(self, network: Network, config: Config) -> bytes:
            assert config._features == {trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03}, "plugins change memory in place"
            assert config._profiles == emitted["profiles"]
            assert config._limits[trt.MemoryPoolType.WORKSPACE] > 0
            assert config._timings is not None
            gc.collect()
            assert emitted["graph"]() is not None, "weights are read where the graph keeps them"
            emitted["built"] += 1
            return b"plan"

    class Context(Checked):
        real = trt.IExecutionContext

        def __init__(self) -> None:
            self.__dict__.update(_addresses={}, _shapes={}, _profile=0)

        def set_optimization_profile_async(self, profile: int, stream: int) -> None:
            self.__dict__["_profile"] = profile

        def set_tensor_address(self, name: str, address: int) -> None:
            self._addresses[name] = address

        def set_input_shape(self, name: str, shape: Any) -> None:
            least, _, largest = emitted["profiles"][self._profile][name]
            assert len(shape) == len(least)
            assert all(a <= size <= b for a, size, b in zip(least, shape, largest, strict=True)), f"{name} is {shape}"
            self._shapes[name] = tuple(shape)

        def execute_async_v3(self, stream: int) -> bool:
            network = OnDevice(trt, self._shapes, self._addresses)
            emitted["network"](TensorRtGraph(Bindings(trt), network, plugins, "fp32", 90))
            for name, value in network.outputs.items():
                view(self._addresses[name], value.shape, value.dtype)[...] = value
            return True

    class Engine(Checked):
        real = trt.ICudaEngine

        def create_execution_context(self) -> Context:
            return Context()

        def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
            return emitted["profiles"][profile][name]

    class Runtime(Checked):
        real = trt.Runtime

        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            return Engine() if plan == b"plan" else None

    return Bindings(trt, Builder=Builder, Runtime=Runtime)


class OnDevice(Network):
    """Takes inputs from addresses."""

    def __init__(self, trt: Any, shapes: dict[str, Any], addresses: dict[str, int]) -> None:
        super().__init__(trt, {})
        self._shapes = shapes
        self._addresses = addresses

    def _input(self, name: str, kind: Any, shape: tuple[int, ...]) -> Any:
        real = self._shapes.get(name, shape)
        self._feeds[name] = view(self._addresses[name], real, KINDS[kind.name]).copy()
        return super()._input(name, kind, shape)


def view(address: int, shape: tuple[int, ...], kind: Any) -> Any:
    """Memory as an array."""
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), kind).reshape(shape)
