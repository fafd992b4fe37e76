"""`fulcrum config check`: files that settings name are read, and each that cannot be used is named with its setting."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.chassis.settings import ConfigError
from services.cli.assembly import assemble_suite, suite_settings
from services.cli.files import problems
from services.executor.memory_budget import estimate
from services.executor.settings import LocalModel
from tests.unit.executor.folders import llama_folder

SHIPPED = Path("deploy/local.yaml")


def test_a_checkout_has_all_its_files() -> None:
    """The shipped settings name nothing that is missing."""
    assert problems(suite_settings(SHIPPED)) == []


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"router": {"catalogue": "none.yaml"}}, "router.catalogue: none.yaml: cannot be read"),
        ({"router": {"catalogue": "README.md"}}, "router.catalogue: README.md: "),
        ({"router": {"prices": "none.yaml"}}, "router.prices: none.yaml: cannot be read"),
        ({"router": {"predictor": "README.md"}}, "router.predictor: README.md: is not a router's safetensors file"),
        ({"executor": {"encoder": {"folder": "docs"}}}, "executor.encoder.folder: docs/config.json: file is missing"),
        (
            {"executor": {"models": {"mine": {"folder": "docs"}}}},
            "executor.models.mine.folder: docs/config.json: file is missing",
        ),
        ({"executor": {"precision_report": "none.json"}}, "executor.precision_report: none.json: cannot be read"),
        (
            {"executor": {"models": {"far": {"base_url": "http://x", "api_key_env": "NOT_SET"}}}},
            "executor.models.far.api_key_env: NOT_SET is not set",
        ),
        (
            {"server": {"identity": {"accept": ["keys"], "keys": "none.json"}}},
            "server.identity.keys: none.json: cannot be read",
        ),
        ({"server": {"tls": {"certificate": "none.crt", "key": "none.key"}}}, "server.tls: none.crt: cannot be read"),
        (
            {"edge": {"cache": {"address": "x:1", "tls": {"ca": "none.crt"}}}},
            "edge.cache.tls: none.crt: cannot be read",
        ),
        (
            {"edge": {"judge": {"model": "gpt-5"}, "executor": {"address": "x:1"}}},
            "edge.judge.model: got 'gpt-5', expected a model of deploy/catalogue.yaml: fulcrum-small, fulcrum-large",
        ),
        (
            {"edge": {"shadow": {"judge": "gpt-5"}, "router": {"address": "x:1"}}},
            "edge.shadow.judge: got 'gpt-5', expected a model of executor.models: fulcrum-small, fulcrum-large",
        ),
    ],
)
def test_a_missing_file_is_named(overrides: dict[str, Any], told: str) -> None:
    """A file that is missing, or is something else, is told with the setting that names it."""
    found = problems(suite_settings(SHIPPED, overrides))
    assert [line for line in found if line.startswith(told)], found
    assert len(found) == 1


def _as_integers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].astype(np.int64)
    save_file(weights, folder / "model.safetensors")


def _without(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors")


def _short_of_embeddings(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": 400}))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_as_integers, "tensor model.norm.weight has type I64, expected one of F32, F16, BF16"),
        (_without, "tensor model.layers.1.mlp.up_proj.weight is missing"),
        (_short_of_embeddings, "'end token 400' has id 400, expected less than vocab_size"),
    ],
)
def test_what_loading_would_refuse_is_told(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    """Tensors are held to what the model needs, tokens to its embeddings, without loading it."""
    folder = llama_folder(tmp_path)
    settings = suite_settings(SHIPPED, {"executor": {"models": {"m": {"folder": folder}}}})
    assert problems(settings, "executor") == []
    spoil(folder)
    (line,) = problems(settings, "executor")
    assert line.startswith("executor.models.m.folder: ")
    assert told in line


def test_models_that_do_not_fit_are_told(tmp_path: Path) -> None:
    """Those loaded at the start share the memory, in name order; each of the others must fit alone."""
    folder = llama_folder(tmp_path)
    one = {"folder": folder, "kv_memory_mb": 8}
    models = {"a": {**one, "load_at_start": False}, "b": one, "c": one}
    each = estimate(LocalModel.model_validate(one))
    settings = suite_settings(SHIPPED, {"executor": {"models": models, "memory_bytes": 2 * each - 1}})
    (line,) = problems(settings, "executor")
    assert line.startswith("executor.models.c.folder: memory of model c: got ")
    assert "left of executor.memory_bytes" in line


def test_one_service_alone() -> None:
    """A machine that serves one service needs the files of that one and of its server."""
    settings = suite_settings(
        SHIPPED,
        {"router": {"catalogue": "none.yaml"}, "server": {"tls": {"certificate": "none.crt", "key": "none.key"}}},
    )
    assert [line.partition(":")[0] for line in problems(settings, "executor")] == ["server.tls"]
    assert [line.partition(":")[0] for line in problems(settings, "router")] == ["server.tls", "router.catalogue"]


async def test_a_judge_that_nobody_serves_ends_the_start(tmp_path: Path) -> None:
    """A suite that would compare no answer, as its judge is no model of its executor or catalogue, does not start."""
    apart = {"ledger": {"database": str(tmp_path / "ledger.sqlite")}, "executor": {"address": "127.0.0.1:1"}}
    judged = {"judge": {"model": "gpt-5"}}
    with pytest.raises(ConfigError, match=r"edge\.judge\.model: got 'gpt-5', expected a model of executor\.models"):
        assemble_suite(suite_settings(SHIPPED, {"edge": judged}))
    _, components = assemble_suite(suite_settings(SHIPPED, {"edge": {**judged, **apart}}))
    by_name = {component.name: component for component in components}
    router, edge = by_name["router"], by_name["edge"]
    await router.start()
    try:
        with pytest.raises(
            ConfigError, match=r"edge\.judge\.model: got 'gpt-5', expected a model of the router's catalogue"
        ):
            await edge.start()
    finally:
        await edge.close()
        await router.close()
