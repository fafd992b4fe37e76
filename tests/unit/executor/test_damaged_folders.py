"""Whatever is wrong with a model folder, loading it says so in one kind of error, and nothing else comes out."""

import asyncio
import json
import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from services.chassis.errors import FulcrumError
from services.executor.engine import GenerateRequest, Message, ModelState, Sampling
from services.executor.models.checkpoint import InvalidCheckpoint
from services.executor.onnx_engine import OnnxEngine
from services.executor.settings import LocalModel
from tests.unit.executor.folders import END, llama_folder
from tests.unit.executor.mutations import FILES, mutate

MUTATIONS = int(os.environ.get("FULCRUM_FOLDER_MUTATIONS", "300"))
BATCHES = 5
YARN = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4, "attention_factor": 1.1}


async def use(folder: Path) -> str:
    """Loads the folder, asks it for two tokens, and says how that went; InvalidCheckpoint is how it may fail."""
    engine = OnnxEngine("model", LocalModel(folder=folder))
    try:
        await engine.start()
    except InvalidCheckpoint as error:
        assert engine.info.state is ModelState.FAILED
        str(error).encode()  # can be logged
        return "refused"
    else:
        request = GenerateRequest("model", (Message("user", "hi"),), Sampling(max_output_tokens=2))
        with suppress(FulcrumError):
            assert [event async for event in engine.generate(request)]
        return "served"
    finally:
        await engine.close()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damage_is_refused_or_harmless(tmp_path: Path, batch: int) -> None:
    """A folder damaged at random is refused by InvalidCheckpoint, or serves."""
    whole = llama_folder(tmp_path / "whole", rope_parameters=YARN, num_hidden_layers=1)
    (whole / "generation_config.json").write_text(json.dumps({"eos_token_id": [END], "temperature": 0.6}))
    rng = random.Random(batch)
    seen, escaped = set(), []
    for _ in range(MUTATIONS // BATCHES):
        folder = tmp_path / "damaged"
        folder.mkdir(exist_ok=True)
        for name in FILES:
            shutil.copyfile(whole / name, folder / name)
        how = mutate(rng, folder)
        try:
            seen.add(asyncio.run(use(folder)))
        except BaseException as error:  # noqa: BLE001 (a panic of the tokenizer is no Exception)
            escaped.append(f"{how}: {error!r:.300}")
    assert not escaped, "\n".join(escaped)
    assert seen == {"refused", "served"}
