"""Models are made from the settings, fail one by one, and are listed in pages."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.chassis.errors import InvalidField, NotFound
from services.chassis.settings import ConfigError, load
from services.executor.engine import ModelState
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
    """A model with a base_url is remote, any other local; a wrong key is named with its path."""
    models = {"here": {"folder": "models/x"}, "there": {"base_url": "https://api.example.com/v1"}}
    settings = load(ExecutorSettings, {"executor": {"models": models}})
    assert isinstance(settings.models["here"], LocalModel)
    assert isinstance(settings.models["there"], RemoteModel)
    with pytest.raises(ConfigError, match=r"executor\.models\.here\.local\.precision"):
        load(ExecutorSettings, {"executor": {"models": {"here": {"folder": "x", "precision": "fp4"}}}})
