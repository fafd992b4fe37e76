"""Models are made from the settings, fail one by one, and are listed in pages."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from structlog.testing import capture_logs

from services.chassis.errors import FailedPrecondition, InvalidField, NotFound, Unavailable
from services.chassis.settings import ConfigError, load
from services.executor.engine import ModelState
from services.executor.kv_memory import kv_token_bytes
from services.executor.memory_budget import context_of, estimate
from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from services.executor.registry import make_registry
from services.executor.settings import ExecutorSettings, LocalModel, RemoteModel
from tests.unit.executor.folders import llama_folder


async def test_a_broken_model_leaves_the_others(tmp_path: Path) -> None:
    """What cannot be loaded is logged and listed as failed; the others are ready, in name order."""
    models: dict[str, LocalModel | RemoteModel] = {
        "b": LocalModel(folder=llama_folder(tmp_path / "b"), threads=1),
        "a": LocalModel(folder=tmp_path / "absent"),
        "c": RemoteModel(base_url="http://127.0.0.1:9/v1"),
    }
    with capture_logs() as logs:
        registry = make_registry(models)
        await registry.start()
    found, more = registry.page(10, "")
    assert [(info.name, info.state) for info in found] == [
        ("a", ModelState.FAILED),
        ("b", ModelState.READY),
        ("c", ModelState.READY),
    ]
    assert not more
    assert [entry["model"] for entry in logs if entry["log_level"] == "error"] == ["a"]
    await registry.close()


def test_pages() -> None:
    """A page follows the name it is asked to follow; an unknown name is refused."""
    registry = make_registry({name: RemoteModel(base_url="http://x") for name in ("one", "two", "three")})
    first, more = registry.page(2, "")
    assert ([info.name for info in first], more) == (["one", "three"], True)
    second, more = registry.page(2, "three")
    assert ([info.name for info in second], more) == (["two"], False)
    with pytest.raises(InvalidField, match="page_token"):
        registry.page(2, "four")


def test_unknown_models_name_the_known() -> None:
    """Asking for a model that is not there tells which are."""
    with pytest.raises(NotFound, match="one of one") as caught:
        make_registry({"one": RemoteModel(base_url="http://x")}).model("two")
    assert caught.value.reason == "MODEL_UNKNOWN"


def test_keys_come_from_the_named_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key's variable that is named but empty is a configuration error that names both."""
    model = RemoteModel(base_url="http://x", api_key_env="SOME_PROVIDER_KEY")
    monkeypatch.delenv("SOME_PROVIDER_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"executor\.models\.m\.api_key_env: SOME_PROVIDER_KEY"):
        make_registry({"m": model})
    monkeypatch.setenv("SOME_PROVIDER_KEY", "k")
    assert make_registry({"m": model}).model("m").info.name == "m"


def test_settings_tell_local_from_remote() -> None:
    """A model with a base_url is remote, any other local; a wrong key is named as it is written."""
    models = {"here": {"folder": "models/x"}, "there": {"base_url": "https://api.example.com/v1"}}
    settings = load(ExecutorSettings, {"executor": {"models": models}})
    assert isinstance(settings.models["here"], LocalModel)
    assert isinstance(settings.models["there"], RemoteModel)
    told = r"^executor\.models\.local\.precision \(or FULCRUM_EXECUTOR__MODELS__LOCAL__PRECISION\): got 'fp4'"
    with pytest.raises(ConfigError, match=told):
        load(ExecutorSettings, {"executor": {"models": {"local": {"folder": "x", "precision": "fp4"}}}})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, r"got None, expected: Input should be a valid dictionary"),
        ("models/x", r"got 'models/x', expected: Input should be a valid dictionary"),
        ([1], r"got \[1\], expected: Input should be a valid dictionary"),
        ({"folder": "models/x", "base_url": "http://x/v1"}, r"expected: .*either `folder`.* or `base_url`"),
    ],
)
def test_what_is_no_model_is_refused_by_name(model: Any, expected: str) -> None:
    """Something else than keys, or the keys of both kinds at once."""
    with pytest.raises(
        ConfigError, match=r"^executor\.models\.m \(or FULCRUM_EXECUTOR__MODELS__M\): " + f".*{expected}"
    ):
        load(ExecutorSettings, {"executor": {"models": {"m": model}}})


@pytest.mark.parametrize(
    "section", [{"encoder": {"threads": 257}}, {"models": {"m": {"folder": "x", "threads": 10**9}}}]
)
def test_threads_have_an_upper_limit(section: dict[str, Any]) -> None:
    """A slip of the finger is refused rather than exhaust the machine."""
    with pytest.raises(ConfigError, match=r"threads .*less than or equal to 256"):
        load(ExecutorSettings, {"executor": section})


def local(folder: Path, **changes: Any) -> LocalModel:
    return LocalModel.model_validate({"folder": folder, "threads": 1, "kv_memory_mb": 8} | changes)


async def test_two_models_may_share_a_folder_and_not_all_fit(tmp_path: Path) -> None:
    """What does not fit into the shared memory is not loaded, with the figures named; it fits once another is gone."""
    folder = llama_folder(tmp_path)
    each = estimate(local(folder))
    registry = make_registry({name: local(folder) for name in "abc"}, memory_bytes=2 * each)
    await registry.start()
    assert [info.state for info in registry.infos] == [ModelState.READY, ModelState.READY, ModelState.FAILED]
    assert [info.memory_bytes for info in registry.infos] == [each] * 3
    assert f"got '{each / 1e6:.0f} MB', expected at most the 0 MB left" in registry.infos[2].failure
    with pytest.raises(FailedPrecondition, match=r"name: got 'c', expected .* MB left"):
        await registry.model("c").load()
    await registry.model("a").unload()
    await registry.model("c").load()
    states = [info.state for info in registry.infos]
    assert states == [ModelState.UNLOADED, ModelState.READY, ModelState.READY]
    assert registry.failed() == []
    await registry.close()


def test_the_estimate_covers_scores_and_logits(tmp_path: Path) -> None:
    """Twice the context or the places adds the widest pass's scores and logits, besides keys and values."""
    folder = llama_folder(tmp_path, max_position_embeddings=8192)
    changes = {"kv_memory_mb": 64, "prefix_memory_mb": 0}

    def parts(context: int, places: int) -> tuple[int, int]:
        decoder = decoder_shape(open_checkpoint(folder), context)
        return kv_token_bytes(decoder, 4) * context * places, estimate(
            local(folder, context_tokens=context, places=places, **changes)
        )

    (kv, all_of_it), (wide_kv, wide), (more_kv, more) = parts(4096, 1), parts(8192, 1), parts(4096, 2)
    heads, logits = 4, 2 * 4 * 260
    assert (wide - wide_kv) - (all_of_it - kv) == heads * 256 * 4096 * 4
    assert (more - more_kv) - (all_of_it - kv) == heads * 256 * 4096 * 4 + logits


def test_memory_for_less_than_one_conversation_is_refused(tmp_path: Path) -> None:
    """The estimate says so in the words of loading."""
    folder = llama_folder(tmp_path, max_position_embeddings=8192)
    with pytest.raises(InvalidCheckpoint, match=r"8192 tokens take \d+ bytes of KV memory, expected at most 1000000"):
        estimate(local(folder, kv_memory_mb=1, context_tokens=8192))
    with pytest.raises(InvalidCheckpoint, match=r"2048 tokens take \d+ bytes of KV memory, expected at most 1000000"):
        estimate(local(folder, kv_memory_mb=1))


async def test_a_long_context_is_shortened_where_nobody_set_it(tmp_path: Path) -> None:
    """It is loaded, estimated and listed with what four conversations have room for, which is logged with the remedy;
    where the settings name the context, that is taken, in however few places."""
    folder = llama_folder(tmp_path, max_position_embeddings=131_072)
    registry = make_registry({"m": local(folder, kv_memory_mb=7, backend="cpu")})
    with capture_logs() as logs:
        await registry.start()
    (info,) = registry.infos
    assert (info.state, info.context_tokens) == (ModelState.READY, 2_048)
    (found,) = [entry for entry in logs if entry["event"].startswith("a shorter context")]
    assert (found["context_tokens"], found["own"]) == (2_048, 131_072)
    await registry.close()
    assert info.memory_bytes == estimate(local(folder, kv_memory_mb=7, context_tokens=2_048))
    checkpoint = open_checkpoint(folder)
    assert context_of(local(folder, kv_memory_mb=7), checkpoint, 2) == 5_120
    assert context_of(local(folder, kv_memory_mb=7, context_tokens=9_000), checkpoint, 4) == 9_000


def break_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = np.full_like(weights["model.norm.weight"], 3e38)
    save_file(weights, folder / "model.safetensors")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "overflow": (break_weights, "not finite"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("[]"), "tokenizer"),
    "empty template": (
        lambda folder: (folder / "chat_template.jinja").write_text(""),
        "chat_template.jinja: chat_template makes nothing of a message",
    ),
    "no template": (lambda folder: (folder / "chat_template.jinja").write_text("{% for %}"), "does not compile"),
    "odd configuration": (lambda folder: (folder / "config.json").write_text('{"model_type": 7}'), "model_type"),
    "odd tokenizer": (lambda folder: (folder / "tokenizer_config.json").write_text('{"eos_token": 7}'), "eos_token"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_folder_fails_its_model_alone(tmp_path: Path, name: str) -> None:
    """Whatever is wrong in a folder is told as the model's failure; mended, the model can be loaded."""
    spoil, why = BROKEN[name]
    spoil(llama_folder(tmp_path / "broken"))
    registry = make_registry(
        {"bad": local(tmp_path / "broken"), "good": local(llama_folder(tmp_path / "good"))}, memory_bytes=10**9
    )
    with capture_logs() as logs:
        await registry.start()
    bad, good = registry.infos
    assert (bad.state, good.state, good.failure) == (ModelState.FAILED, ModelState.READY, "")
    assert why in bad.failure
    assert [entry["model"] for entry in logs if entry["log_level"] == "error"] == ["bad"]
    with pytest.raises(Unavailable, match="failed"), registry.model("bad").using():
        pass
    shutil.rmtree(tmp_path / "broken")
    llama_folder(tmp_path / "broken")
    await registry.model("bad").load()
    assert registry.infos[0].state is ModelState.READY
    await registry.close()


async def test_what_is_not_loaded_tells_what_it_would_take(tmp_path: Path) -> None:
    """Before the first time as after the last; nothing where its folder cannot be read."""
    there, absent = (local(folder, load_at_start=False) for folder in (llama_folder(tmp_path / "m"), tmp_path / "none"))
    registry = make_registry({"m": there, "none": absent})
    await registry.start()
    assert [info.memory_bytes for info in registry.infos] == [estimate(there), 0]
    assert [info.state for info in registry.infos] == [ModelState.UNLOADED] * 2
    await registry.close()


async def test_loading_and_unloading_are_done_once(tmp_path: Path) -> None:
    """Who asks meanwhile waits for the same; who leaves stops nothing; the contrary is refused meanwhile."""
    registry = make_registry({"m": local(llama_folder(tmp_path), load_at_start=False)})
    await registry.start()
    model = registry.model("m")
    assert model.info.state is ModelState.UNLOADED
    with (
        pytest.raises(Unavailable, match="got 'unloaded', expected ready: `fulcrum models load m` loads it"),
        model.using(),
    ):
        pass
    leaving, staying = (asyncio.create_task(model.load()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(Unavailable, match="loading"):
        await model.unload()
    await staying
    with model.using():
        unloading = asyncio.create_task(model.unload())
        await asyncio.sleep(0.05)
        assert [info.state for info in registry.infos] == [ModelState.UNLOADING]
        with pytest.raises(Unavailable, match="unloading"):
            await model.load()
    await unloading
    await model.unload()
    assert [(info.state, info.kv_used) for info in registry.infos] == [(ModelState.UNLOADED, 0.0)]
    await registry.close()


async def test_a_remote_model_is_not_unloaded() -> None:
    """It takes no memory here."""
    registry = make_registry({"there": RemoteModel(base_url="http://127.0.0.1:9/v1")})
    await registry.start()
    with pytest.raises(FailedPrecondition, match="local model"):
        await registry.model("there").unload()
    assert registry.infos[0].memory_bytes == 0
    await registry.close()


async def test_unloading_stops_for_the_end(tmp_path: Path) -> None:
    """An executor that closes does not wait for answers that keep a model from being unloaded."""
    registry = make_registry({"m": local(llama_folder(tmp_path))})
    await registry.start()
    with registry.model("m").using():
        unloading = asyncio.create_task(registry.model("m").unload())
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await registry.close()
    await asyncio.gather(unloading, return_exceptions=True)
