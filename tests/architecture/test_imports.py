"""The house rules hold for every file of services/ and kernels/, and each rule can fail."""

import tomllib
from pathlib import Path

import pytest

from tests.architecture import rules

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """Source texts by path from the root of the repository."""
    found = [path for folder in ("services", "kernels") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in found}


def test_reads_the_real_sources(files: dict[str, str]) -> None:
    """The rules below look at every service and at the kernels, not at an empty folder."""
    assert {"services/edge/pipeline.py", "services/chassis/guard.py", "kernels/__init__.py"} <= files.keys()
    assert len(files) > 30


def test_only_transport_knows_the_wire(files: dict[str, str]) -> None:
    """Outside chassis and cli, protobuf, contracts and grpc appear in the files for it only."""
    assert rules.wire_outside_transport(files) == []


def test_engines_and_indexes_have_one_home(files: dict[str, str]) -> None:
    """faiss, onnxruntime and tensorrt are each imported by one file at most, so that they can be replaced."""
    assert rules.several_homes(files) == []


def test_names_say_what_a_module_is(files: dict[str, str]) -> None:
    """No module is called utils, common, helpers, misc, shared or base."""
    assert rules.vague_names(files) == []


def test_files_say_why_they_exist(files: dict[str, str]) -> None:
    """Every file opens with a docstring."""
    assert rules.without_docstring(files) == []


def test_kernels_stand_alone(files: dict[str, str]) -> None:
    """Kernels import nothing of ours but kernels."""
    assert rules.kernels_import_ours(files) == []


def test_services_need_no_development_code(files: dict[str, str]) -> None:
    """No service imports training code, benchmarks or tests."""
    assert rules.services_import_development(files) == []


@pytest.mark.parametrize(
    "line",
    [
        "import grpc",
        "import grpc.aio as g",
        "from google.protobuf import any_pb2",
        "from google import protobuf",
        "from google.rpc import status_pb2",
        "from fulcrum.cache.v1 import cache_service_pb2",
        "import grpc_health.v1.health",
        "def f():\n    import grpc",
        "import importlib\nimportlib.import_module('grpc')",
    ],
)
def test_a_planted_wire_import_is_found(line: str) -> None:
    """Any spelling of a wire import is found in a domain file, and allowed in transport, chassis and cli."""
    (broken,) = rules.wire_outside_transport({"services/cache/risk.py": line})
    assert broken.startswith("services/cache/risk.py:")
    allowed = ["services/cache/service.py", "services/edge/bindings.py", "services/edge/messages.py"]
    allowed += ["services/cache/requests.py", "services/cache/__main__.py"]
    allowed += ["services/chassis/status.py", "services/cli/client.py"]
    assert rules.wire_outside_transport(dict.fromkeys(allowed, line)) == []


def test_a_name_that_only_begins_alike_is_no_wire_import() -> None:
    """A package whose name merely starts like a forbidden one, or lies elsewhere, is not taken for it."""
    source = "import grpcurl\nimport fulcrumish\nfrom services.cache import grpc\nfrom google.cloud import storage"
    assert rules.wire_outside_transport({"services/cache/risk.py": source}) == []


@pytest.mark.parametrize("library", rules.SINGLE_HOME)
def test_a_planted_second_home_is_found(library: str) -> None:
    """A second importing file is named with the first; two imports in one file are fine."""
    one = {"services/a/x.py": f"import {library}\nfrom {library} import capi"}
    assert rules.several_homes(one) == []
    (broken,) = rules.several_homes({**one, "services/b/y.py": f"def f():\n    from {library}.z import q"})
    assert broken == f"{library} is imported by services/a/x.py, services/b/y.py"


@pytest.mark.parametrize("path", [f"services/edge/{name}.py" for name in rules.VAGUE_NAMES] + ["kernels/common/x.py"])
def test_a_planted_vague_name_is_found(path: str) -> None:
    """A vague name is found as a module and as a package."""
    assert rules.vague_names({path: ""}) == [path]
    assert rules.vague_names({"services/edge/baseline.py": "", "services/edge/shared_memory.py": ""}) == []


@pytest.mark.parametrize("source", ["", "import os", '"""  """', "# a comment\nx = 1", "x = 1\n'''late'''"])
def test_a_planted_file_without_docstring_is_found(source: str) -> None:
    """A comment, an empty docstring or a late one does not say why a file exists."""
    assert rules.without_docstring({"services/edge/x.py": source}) == ["services/edge/x.py"]
    assert rules.without_docstring({"services/edge/x.py": f'# !\n"""Why."""\n{source}'}) == []


@pytest.mark.parametrize(
    "line",
    ["import services", "from services.chassis import errors", "import fulcrum.edge.v1", "from models import muon"],
)
def test_a_planted_import_of_ours_in_kernels_is_found(line: str) -> None:
    """Kernels may import one another, but no service, contract or model."""
    (broken,) = rules.kernels_import_ours({"kernels/rope/kernel.py": line})
    assert broken.startswith("kernels/rope/kernel.py:1")
    fine = "import numpy\nfrom kernels.rope import reference\nfrom . import reference"
    assert rules.kernels_import_ours({"kernels/rope/kernel.py": fine, "services/edge/x.py": line}) == []


@pytest.mark.parametrize("line", ["import models.train", "from benchmarks import edge", "from ...tests import wire"])
def test_a_planted_import_of_development_code_is_found(line: str) -> None:
    """Services import no training code, benchmarks or tests; the executor's own models package is another."""
    (broken,) = rules.services_import_development({"services/edge/x.py": line})
    assert broken.startswith("services/edge/x.py:1")
    fine = "from services.executor import models\nfrom .models import decoder\nfrom services.executor.models import x"
    assert rules.services_import_development({"services/executor/engine.py": fine}) == []


def test_every_service_is_under_contract() -> None:
    """import-linter's contracts name every service there is, so that a new one cannot escape them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    packages = {f"services.{path.parent.name}" for path in (ROOT / "services").glob("*/__init__.py")}
    services = packages - {"services.chassis", "services.cli"}
    independent = next(one["modules"] for one in contracts if one["type"] == "independence")
    assert set(independent) == services
    forbidden = {
        source: {
            module
            for one in contracts
            if source in one.get("source_modules", ())
            for module in one["forbidden_modules"]
        }
        for source in packages
    }
    assert forbidden["services.chassis"] >= packages - {"services.chassis"} | {"fulcrum"}
    spoken = {f"fulcrum.{service.removeprefix('services.')}" for service in services}
    for service in services - {"services.edge"}:
        own = service.replace("services.", "fulcrum.")
        assert forbidden[service] >= spoken - {own} | {"services.cli"}, service
