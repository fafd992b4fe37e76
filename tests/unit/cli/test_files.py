"""`fulcrum config check`: files that settings name are read, and each that cannot be used is named with its setting."""

from pathlib import Path
from typing import Any

import pytest

from services.cli.assembly import suite_settings
from services.cli.files import problems

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
    ],
)
def test_a_missing_file_is_named(overrides: dict[str, Any], told: str) -> None:
    """A file that is missing, or is something else, is told with the setting that names it."""
    found = problems(suite_settings(SHIPPED, overrides))
    assert [line for line in found if line.startswith(told)], found
    assert len(found) == 1


def test_one_service_alone() -> None:
    """A machine that serves one service needs the files of that one and of its server."""
    settings = suite_settings(
        SHIPPED,
        {"router": {"catalogue": "none.yaml"}, "server": {"tls": {"certificate": "none.crt", "key": "none.key"}}},
    )
    assert [line.partition(":")[0] for line in problems(settings, "executor")] == ["server.tls"]
    assert [line.partition(":")[0] for line in problems(settings, "router")] == ["server.tls", "router.catalogue"]
