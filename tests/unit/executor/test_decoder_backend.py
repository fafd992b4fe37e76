"""What a decoder runs on is chosen by what can be had, and said."""

import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray

from kernels import tensorrt_plugins
from services.executor import decoder_backend
from services.executor.calibration import largest_inputs
from services.executor.decoder_backend import Opened, open_decoder
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.even_session import EvenSession
from services.executor.memory_budget import estimate
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.models.onnx_emitter import LAST_POSITIONS
from services.executor.models.onnx_linear import full_linear
from services.executor.registry import make_registry
from services.executor.settings import LocalModel
from services.executor.tensorrt_library import TensorRtMissing, load_tensorrt
from tests.unit.executor.families import FAMILIES
from tests.unit.executor.folders import llama_folder


def test_without_a_gpu_the_cpu_is_chosen_and_the_reason_logged(tmp_path: Path) -> None:
    """With auto, what is faster is tried first, and the log names why it was not that."""
    with structlog.testing.capture_logs() as logs:
        decoder, precision, backend = open_decoder("tiny", LocalModel(folder=llama_folder(tmp_path), context_tokens=32))
    assert isinstance(decoder, DecoderSession)
    (line,) = logs
    assert (line["backend"], backend, precision) == ("cpu", "cpu", "int8")
    assert line["not_chosen"][0].startswith("tensorrt: TensorRT cannot be loaded: ")
    assert line["not_chosen"][1].startswith("cuda: ONNX Runtime offers ")
    assert decoder.run([Chunk(0, 0, [1, 2])]).shape[0] == 1


async def test_a_backend_that_is_asked_for_and_missing_fails_the_model_alone(tmp_path: Path) -> None:
    """Its state is failed, the log says what to install, and other models serve."""
    folder = llama_folder(tmp_path)
    registry = make_registry(
        {
            "gpu": LocalModel(folder=folder, backend="tensorrt", context_tokens=32),
            "cpu": LocalModel(folder=folder, backend="cpu", context_tokens=32),
        }
    )
    with structlog.testing.capture_logs() as logs:
        await registry.start()
    (failed,) = [line for line in logs if line["event"] == "model cannot be loaded"]
    assert failed["model"] == "gpu"
    assert "expected `pip install tensorrt` of 11 or later" in failed["why"]
    assert registry.failed() == ["gpu"]
    assert {info.name: info.precision for info in registry.infos} == {"gpu": "bf16", "cpu": "int8"}
    await registry.close()


@pytest.mark.parametrize(
    ("found", "triton", "message"), [("10.9.0", True, "it is 10.9.0"), ("11.4.0", False, "triton")]
)
def test_an_old_tensorrt_or_no_triton_is_refused(
    monkeypatch: pytest.MonkeyPatch, found: str, triton: bool, message: str
) -> None:
    """Before an engine is built; the message says what is there and what to install."""

    def version(name: str) -> str:
        if not triton:
            raise PackageNotFoundError(name)
        return "3.9"

    module = ModuleType("tensorrt")
    module.__version__ = found  # type: ignore[attr-defined]
    module.plugin = ModuleType("tensorrt.plugin")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", module.plugin)
    monkeypatch.setattr(tensorrt_plugins, "version", version)
    tensorrt_plugins.kernels_version.cache_clear()
    with pytest.raises(TensorRtMissing, match=f"{message}.*expected `pip install tensorrt` of 11 or later.*triton"):
        load_tensorrt()
    tensorrt_plugins.kernels_version.cache_clear()


def test_a_gpu_that_is_asked_for_is_estimated(tmp_path: Path) -> None:
    """Weights in its precision, keys and values in 16 bits; with auto what the CPU takes, which is more."""
    folder = llama_folder(tmp_path)
    keys = {"kv_memory_mb": 64, "prefix_memory_mb": 0, "context_tokens": 512, "places": 256}
    sizes = {
        kind: estimate(LocalModel.model_validate({"folder": folder, **keys, **changes}))
        for kind, changes in {
            "bf16": {"backend": "tensorrt"},
            "cuda": {"backend": "cuda", "gpu_precision": "fp16"},
            "int8": {"backend": "tensorrt", "gpu_precision": "int8"},
            "cpu": {"precision": "fp32"},
        }.items()
    }
    assert sizes["int8"] < sizes["bf16"] == sizes["cuda"] < sizes["cpu"]
    shape = decoder_shape(open_checkpoint(folder), 512)
    weights = shape.vocabulary * shape.hidden  # the head, of which all kinds have one
    assert sizes["bf16"] - sizes["int8"] >= weights


def test_a_gpu_that_fails_leaves_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a GPU's libraries raise becomes a reason in the log, and the model serves."""

    def broken(model: LocalModel) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(decoder_backend, "BACKENDS", {**decoder_backend.BACKENDS, "tensorrt": broken})
    with structlog.testing.capture_logs() as logs:
        decoder, *_ = open_decoder("tiny", LocalModel(folder=llama_folder(tmp_path), context_tokens=32))
    assert isinstance(decoder, DecoderSession)
    assert logs[0]["not_chosen"][0] == "tensorrt: out of memory"


def test_a_gpu_whose_first_pass_is_no_number_leaves_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend is chosen once it has answered; what it held is given back."""
    closed: list[bool] = []

    class Wrong(DecoderSession):
        def run(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
            return np.full_like(super().run(chunks), np.nan)

        def close(self) -> None:
            closed.append(True)
            super().close()

    def wrong(model: LocalModel) -> Opened:
        return Opened(Wrong(model.folder, full_linear, 1, 48, 4, 4_000_000, 400_000), "bf16", "tensorrt")

    monkeypatch.setattr(decoder_backend, "BACKENDS", {**decoder_backend.BACKENDS, "tensorrt": wrong})
    with structlog.testing.capture_logs() as logs:
        opened = open_decoder("tiny", LocalModel(folder=llama_folder(tmp_path), context_tokens=32))
    assert (opened.backend, closed) == ("cpu", [True])
    assert logs[0]["not_chosen"][0].endswith("the first logits are not finite numbers")


@pytest.mark.parametrize("family", ["llama", "qwen2 windows", "qwen3"])
def test_rows_of_equal_length_give_what_ragged_ones_give(tmp_path: Path, family: str) -> None:
    """The mode for GPUs, run on the CPU: prompts one by one, single tokens together past idle rows, kept prefixes."""
    folder, sizes = llama_folder(tmp_path, **FAMILIES[family]), (48, 4, 4_000_000, 400_000)
    even, ragged = EvenSession(folder, None, 1, *sizes), DecoderSession(folder, full_linear, 1, *sizes)
    numbers, starts = np.random.default_rng(2), [0] * 4
    for lengths in [(20, 0, 17, 1), (1, 0, 4, 16), (1, 0, 0, 1), (3, 0, 1, 0)]:
        chunks = [
            Chunk(slot, starts[slot], numbers.integers(0, 256, size).tolist(), wants_logits=slot != 2)
            for slot, size in enumerate(lengths)
            if size
        ]
        np.testing.assert_allclose(even.run(chunks), ragged.run(chunks), atol=1e-4)
        starts = [start + size for start, size in zip(starts, lengths, strict=True)]
    for session in (even, ragged):
        session.memory.keep(0, 0, [2])
        session.memory.restore([2], 1)
        session.run([Chunk(0, starts[0], [64])])
    chunks = [Chunk(1, 16, [65, 66, 67])]
    np.testing.assert_allclose(even.run(chunks), ragged.run(chunks), atol=1e-4)


def test_idle_rows_read_no_further_than_the_longest_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row between others that says nothing is charged neither the whole context nor anybody's tokens."""
    even, feeds = EvenSession(llama_folder(tmp_path), None, 1, 48, 4, 4_000_000, 400_000), list[Any]()
    run = even._session.run

    def noted(given: Any, *rest: int) -> Any:
        feeds.append(given)
        return run(given, *rest)

    monkeypatch.setattr(even._session, "run", noted)
    even.run([Chunk(0, 0, [1] * 9), Chunk(2, 0, [1] * 5)])
    even.run([Chunk(2, 5, [1])])
    assert feeds[-1][LAST_POSITIONS].tolist() == [9, 9, 5]
    even.run([Chunk(3, 0, [1] * 48)])
    even.run([Chunk(2, 6, [1])])
    assert feeds[-1][LAST_POSITIONS].tolist() == [47, 47, 6]


def test_calibration_is_measured_once(tmp_path: Path) -> None:
    """Every linear layer's largest input over the texts, kept beside them; other texts are measured anew."""
    (tmp_path / "model").mkdir()
    folder, texts = llama_folder(tmp_path / "model"), tmp_path / "texts.txt"
    texts.write_text("one short text\n\nand another, a little longer\n", encoding="utf-8")
    found = largest_inputs(folder, texts)
    layers = {f"model.layers.{layer}" for layer in range(2)}
    parts = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    assert found.keys() == {f"{one}.{part}.weight" for one in layers for part in parts} | {"model.embed_tokens.weight"}
    assert all(np.isfinite(value) and value > 0 for value in found.values())
    (kept,) = tmp_path.glob("texts.txt.*.json")
    kept.write_text(json.dumps({"kept": 1.0}), encoding="utf-8")
    assert largest_inputs(folder, texts) == {"kept": 1.0}
    texts.write_text("other texts under the same name\n", encoding="utf-8")
    assert largest_inputs(folder, texts).keys() == found.keys()


@pytest.mark.parametrize(("content", "message"), [(None, "calibration is not set"), ("\n \n", "has no text")])
def test_calibration_without_texts_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    """The message names what to set, or the file."""
    texts = tmp_path / "texts.txt" if content is not None else None
    if texts:
        texts.write_text(content or "", encoding="utf-8")
    (tmp_path / "model").mkdir()
    with pytest.raises(InvalidCheckpoint, match=message):
        largest_inputs(llama_folder(tmp_path / "model"), texts)
