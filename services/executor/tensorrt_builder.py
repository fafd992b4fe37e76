"""Builds a TensorRT engine once for a model, a version and a GPU, and finds it again on disk."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.models.tensorrt_graph import TensorRtGraph
from services.executor.tensorrt_library import TensorRt

Shape = Sequence[int]
Range = tuple[Shape, Shape, Shape]
WORKSPACE_BYTES = 4 << 30


@dataclass(frozen=True)
class EngineKey:
    """What an engine depends on: another value of any of it is another engine.

    Args:
        model: the checkpoint's digest.
        gpu: the device's name.
        architecture: its compute capability.
        options: precision, sizes and whatever else shapes the network, for JSON.
        code: versions of the code that writes the network; a newer engine takes the place of those of older code.
    """

    model: str
    gpu: str
    architecture: int
    options: Mapping[str, Any]
    code: Sequence[str]

    @property
    def owner(self) -> str:
        """What names of engines begin with that differ in code and TensorRT's version alone."""
        return f"{self.model[:12]}-sm{self.architecture}-{_digest([self.model, self.gpu, dict(self.options)])}"

    def file_name(self, version: str) -> str:
        """Of the engine that this TensorRT makes."""
        return f"{self.owner}-{_digest([*self.code, version])}.plan"

    def timing_file_name(self, version: str) -> str:
        """Of the kernels' timings, which all models on this GPU share."""
        return f"timing-sm{self.architecture}-{_digest([version, self.gpu])}.cache"


def open_engine(
    library: TensorRt,
    key: EngineKey,
    folder: Path,
    activation: str,
    emit: Callable[[TensorRtGraph], None],
    profiles: Sequence[Mapping[str, Range]],
) -> Any:
    """The engine, from `folder` or built and put there; one that TensorRT cannot load is built anew.

    Args:
        library: TensorRT.
        key: what the engine is for.
        folder: where engines and timings are kept.
        activation: the activations' type.
        emit: writes the network.
        profiles: by input the least, the likeliest and the largest shape; an engine is tuned for each profile.

    Raises:
        InvalidCheckpoint: TensorRT refuses the network, or what it made of it; its log says why.
    """
    version = library.trt.__version__
    path = folder / key.file_name(version)
    engine = _load(library, path.read_bytes()) if path.exists() else None
    if engine is not None:
        return engine
    folder.mkdir(parents=True, exist_ok=True)
    plan = _build(library, key, folder / key.timing_file_name(version), activation, emit, profiles)
    _replace(path, plan)
    for older in folder.glob(f"{key.owner}-*.plan"):
        if older != path:
            older.unlink(missing_ok=True)
    engine = _load(library, plan)
    if engine is None:
        raise InvalidCheckpoint("TensorRT cannot load the engine that it built: its log says why")
    return engine


def _load(library: TensorRt, plan: bytes) -> Any:
    """The engine of a plan; None where it is damaged, or of another version or GPU."""
    trt = library.trt
    return trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(plan)


def _build(
    library: TensorRt,
    key: EngineKey,
    timings: Path,
    activation: str,
    emit: Callable[[TensorRtGraph], None],
    profiles: Sequence[Mapping[str, Range]],
) -> bytes:
    trt = library.trt
    builder = trt.Builder(trt.Logger(trt.Logger.WARNING))
    flags = trt.NetworkDefinitionCreationFlag
    wanted = 1 << int(flags.STRONGLY_TYPED) | 1 << int(flags.PREFER_AOT_PYTHON_PLUGINS)
    network = builder.create_network(wanted)
    graph = TensorRtGraph(trt, network, library.plugins, activation, key.architecture)
    emit(graph)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.set_preview_feature(trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03, True)
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, (least, likeliest, largest) in shapes.items():
            profile.set_shape(name, tuple(least), tuple(likeliest), tuple(largest))
        config.add_optimization_profile(profile)
    cache = config.create_timing_cache(timings.read_bytes() if timings.exists() else b"")
    config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    del graph  # not before: TensorRT reads the weights where they lie in it
    if plan is None:
        raise InvalidCheckpoint("TensorRT refuses the network, expected an engine: its log says why")
    _replace(timings, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _replace(path: Path, content: bytes) -> None:
    """Written whole or not at all, for processes may share the folder."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
