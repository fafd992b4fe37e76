"""Runs in a process of its own: TensorRT's session and encoder over a fake runtime and a stub driver, beside the CPU's.

Output: one JSON object: the largest differences, files of the engine cache and how many engines were built, what of the
device is held, and the driver's launch of given arguments.
"""

import ctypes
import json
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from kernels import tensorrt_plugins
from kernels.cuda_driver import CudaDriver
from services.executor import decoder_backend, tensorrt_builder, tensorrt_encoder, tensorrt_engine
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.device_memory import DeviceMemory
from services.executor.kv_memory import KvMemory
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.onnx_linear import full_linear
from services.executor.models.tensorrt_linear import Precision
from services.executor.sentence_encoder import SentenceEncoder, Tokens
from services.executor.settings import LocalModel
from services.executor.tensorrt_library import TensorRt
from tests.kernels.plugins_fake import Plugins
from tests.kernels.runtime_fake import fake_trt, view
from tests.kernels.stub_bindings import load
from tests.unit.executor.folders import bert_folder, llama_folder

BUILT: dict[str, Any] = {"built": 0}
FULL = Precision()
SLOTS, CONTEXT, MEMORY, KEPT = 3, 48, 2_000_000, 200_000


def _library() -> TensorRt:
    trt, trtp = load()
    if not trtp._lib.QDP_REGISTRY:
        tensorrt_plugins.register(trt, trtp)
    return TensorRt(fake_trt(trt, Plugins(trtp._lib.QDP_REGISTRY), BUILT), trtp)


def _remembered(library: Any, key: Any, folder: Path, activation: str, emit: Any, profiles: Any) -> Any:
    """Builds, and keeps what the engine is to run."""
    BUILT["network"], BUILT["profiles"] = emit, profiles

    def emitted(graph: Any) -> None:
        BUILT["graph"] = weakref.ref(graph)

    return tensorrt_builder.open_engine(library, key, folder, activation, emitted, profiles)


def _sessions(folder: Path, engines: Path, precision: Precision = FULL) -> tuple[Any, Any]:
    tensorrt_engine.open_engine, library = _remembered, _library()
    sizes = (CONTEXT, SLOTS, MEMORY, KEPT)
    gpu = tensorrt_engine.TensorRtSession(library, CudaDriver(), folder, precision, "fp32", engines, *sizes)
    return gpu, DecoderSession(folder, full_linear, 1, *sizes)


def _difference(gpu: Any, cpu: Any) -> float:
    """Passes of chunks and single tokens mixed, then a kept prefix that another slot goes on from."""
    numbers, starts, worst = np.random.default_rng(2), [0] * SLOTS, 0.0
    for sizes in [(20, 17, 1), (1, 4, 16), (1, 1, 1), (3, 1, 0)]:
        chunks = [
            Chunk(slot, starts[slot], numbers.integers(0, 256, size).tolist(), wants_logits=slot != 1)
            for slot, size in enumerate(sizes)
            if size
        ]
        worst = max(worst, float(np.abs(gpu.run(chunks) - cpu.run(chunks)).max()))
        starts = [start + size for start, size in zip(starts, sizes, strict=True)]
    for session in (gpu, cpu):
        session.memory.keep(0, 0, [2])
        session.memory.restore([2], 2)
    chunks = [Chunk(2, 16, [65, 66, 67])]
    return max(worst, float(np.abs(gpu.run(chunks) - cpu.run(chunks)).max()))


def _memory_is_the_same(folder: Path) -> bool:
    """Keeping and restoring moves the same numbers as on the host, in any order of blocks."""
    shape = decoder_shape(open_checkpoint(folder), CONTEXT)
    host, driver = KvMemory(shape, SLOTS, MEMORY, KEPT), CudaDriver()
    device = DeviceMemory(driver, shape, 4, SLOTS, MEMORY, KEPT)
    device.reserve()
    host.slots[...] = np.random.default_rng(1).normal(size=host.slots.shape)
    for address, values in zip(device.sides, host.slots, strict=True):
        driver.upload(address, values)
    for memory in (host, device):
        memory.keep(1, 1, [3, 0])
        memory.restore([0, 3], 2)
    found = np.array([view(address, host.slots.shape[1:], np.float32) for address in device.sides])
    driver.close()
    return bool(np.array_equal(found, host.slots)) and device.block_count == host.block_count


def _encoders_differ(folder: Path, engines: Path) -> list[Any]:
    """The largest difference of vectors in runs of one row, of some, and of more than an engine takes at once; what
    `SentenceEncoder` says of the same texts; how many vector spaces there are."""
    library = _library()
    tensorrt_encoder.open_engine, tensorrt_encoder.load_tensorrt = _remembered, lambda: library
    gpu, cpu = SentenceEncoder(folder, "fp16", 1, engines), SentenceEncoder(folder, "fp32", 1)
    worst, numbers = 0.0, np.random.default_rng(4)
    for rows, positions in [(1, 1), (3, 17), (70, 5)]:
        tokens = [Tokens(tuple(numbers.integers(0, 256, positions).tolist()), positions) for _ in range(rows)]
        found = gpu.encode(tokens)
        assert found.shape == (rows, gpu.dimension)
        worst = max(worst, float(np.abs(found - cpu.encode(tokens)).max()))
    return [worst, len({gpu.digest, cpu.digest, SentenceEncoder(folder, "int8", 1).digest})]


def _held() -> int:
    """What was taken of the device and not given back."""
    return ctypes.c_int.in_dll(ctypes.CDLL("libcuda.so.1"), "stub_held").value


def _opened_in_vain(folder: Path, engines: Path) -> int:
    """What is held once TensorRT has refused the network and the backend is another."""

    def refused(*_: Any) -> bytes:
        raise InvalidCheckpoint("refused")

    tensorrt_engine.open_engine = refused
    decoder_backend.load_tensorrt = lambda: TensorRt(None, None)
    before = _held()
    opened = decoder_backend.open_decoder("tiny", LocalModel(folder=folder, engines=engines, context_tokens=CONTEXT))
    assert opened.precision == "int8"
    opened.decoder.close()
    return _held() - before


def _launch() -> list[int]:
    """What the driver was handed for pointers, sizes and pointers, and how often a kernel launched twice was loaded."""
    driver = CudaDriver()
    stub = ctypes.CDLL("libcuda.so.1")
    sizes = [8, 8, 4, 4, 8]
    (ctypes.c_int * 32).in_dll(stub, "stub_sizes")[: len(sizes)] = sizes
    ctypes.c_int.in_dll(stub, "stub_count").value = len(sizes)
    values = [np.uint64(2**40 + 1), np.uint64(2), np.int32(7), np.int32(-1), np.uint64(2**63)]
    for _ in range(2):
        driver.launch(driver.load("PTX", "entry", 100_000), (5, 6), 128, 100_000, values)
    told = (ctypes.c_uint64 * 64).in_dll(stub, "stub_launch")
    return [*told[:13], told[61]]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        path, engines = Path(made, "model"), Path(made, "engines")
        path.mkdir()
        llama_folder(path)
        first, beside = _sessions(path, engines)
        found = {"difference": _difference(first, beside), "files": sorted(file.name for file in engines.iterdir())}
        found["held"] = [_held()]
        first.close()
        found["held"] += [_held(), _opened_in_vain(path, engines)]
        _sessions(path, engines)[0].close()
        found["built"] = [BUILT["built"]]
        _sessions(path, engines, Precision("int4"))[0].close()
        found["built"].append(BUILT["built"])
        tensorrt_engine.kernels_version = lambda: "kernels that were changed"
        _sessions(path, engines)[0].close()
        found["built"].append(BUILT["built"])
        for plan in engines.glob("*.plan"):
            plan.write_bytes(b"damaged")
        _sessions(path, engines)[0].close()
        found["built"].append(BUILT["built"])
        found["plans"] = len(list(engines.glob("*.plan")))
        found["memory"] = _memory_is_the_same(path)
        found["encoder"] = _encoders_differ(bert_folder(Path(made, "encoder")), engines)
    print(json.dumps({**found, "launch": _launch()}))
