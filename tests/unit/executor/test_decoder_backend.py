"""What a decoder runs on is chosen by what can be had, and said."""

import json
from pathlib import Path

import numpy as np
import pytest
import structlog

from services.executor.calibration import largest_inputs
from services.executor.decoder_backend import open_decoder
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.registry import make_registry
from services.executor.settings import LocalModel
from tests.unit.executor.folders import llama_folder


def test_without_a_gpu_the_cpu_is_chosen_and_the_reason_logged(tmp_path: Path) -> None:
    """With auto, what is faster is tried first, and the log names why it was not that."""
    with structlog.testing.capture_logs() as logs:
        decoder = open_decoder("tiny", LocalModel(folder=llama_folder(tmp_path), context_tokens=32, places=2))
    assert isinstance(decoder, DecoderSession)
    (line,) = logs
    assert line["backend"] == "cpu"
    assert line["not_chosen"][0].startswith("tensorrt: TensorRT cannot be loaded: ")
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
    await registry.close()


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


@pytest.mark.parametrize(("content", "message"), [(None, "calibration is not set"), ("\n \n", "has no text")])
def test_calibration_without_texts_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    """The message names what to set, or the file."""
    texts = tmp_path / "texts.txt" if content is not None else None
    if texts:
        texts.write_text(content or "", encoding="utf-8")
    (tmp_path / "model").mkdir()
    with pytest.raises(InvalidCheckpoint, match=message):
        largest_inputs(llama_folder(tmp_path / "model"), texts)
