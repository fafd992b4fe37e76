"""The clients as users get them: the built wheel in an environment of its own, and the Node example."""

import asyncio
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.interop.conftest import Running
from tests.interop.node import EXAMPLE, NODE, ROOT, NodeProbe

_SCRIPT = """
import importlib.metadata, json, sys
from fulcrum_client import Client, InvalidRequest
with Client(sys.argv[1]) as fulcrum:
    answer = fulcrum.complete("What is the capital of Norway?", max_quality_loss=0.0)
    with fulcrum.stream([("user", "What is the capital of Norway?")], max_quality_loss=0.0) as stream:
        pieces = list(stream)
    try:
        fulcrum.complete("x", top_p=7)
        refused = ""
    except InvalidRequest as error:
        refused = error.field
print(json.dumps({
    "text": answer.text,
    "pieces": pieces,
    "receipt": stream.receipt.receipt_id + stream.receipt.request_id,
    "refused": refused,
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
    "distributions": sorted(one.metadata["Name"].lower() for one in importlib.metadata.distributions()),
    "where": __import__("fulcrum_client").__file__,
}))
"""
_NEEDED = {"fulcrum-client", "googleapis-common-protos", "grpcio", "protobuf", "typing_extensions", "typing-extensions"}
_TOOLS = {"pip", "setuptools", "wheel"}
_OF_THE_SERVER = {
    "services",
    "numpy",
    "onnxruntime",
    "faiss",
    "pydantic",
    "protovalidate",
    "structlog",
    "uvloop",
    "httpx",
}


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of clients/python, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-w", str(folder)]
    _run(sys.executable, "-m", "pip", "wheel", *options, ROOT / "clients/python")
    (built,) = folder.glob("fulcrum_client-*.whl")
    return built


def test_the_wheel_holds_the_stubs_and_nothing_of_the_server(wheel: Path) -> None:
    """Every file of gen/ is in it as it is there, and its own modules; no copy of the stubs is in clients/."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    gen = {path.relative_to(ROOT / "gen").as_posix(): path for path in (ROOT / "gen").rglob("*.py*") if path.is_file()}
    gen = {name: path for name, path in gen.items() if "__pycache__" not in name}
    assert {name: held[name] for name in gen} == {name: path.read_bytes() for name, path in gen.items()}
    assert {name.partition("/")[0] for name in held} == {"fulcrum_client", "fulcrum", "buf"}
    assert {"fulcrum_client/clients.py", "fulcrum_client/py.typed", "fulcrum/py.typed"} <= held.keys()
    assert not list((ROOT / "clients/python").rglob("*_pb2*"))


async def test_the_wheel_works_alone(running: Running, wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own it brings three libraries, imports nothing of the server, and answers."""
    python = tmp_path / "venv/bin/python"
    await asyncio.to_thread(_run, sys.executable, "-m", "venv", tmp_path / "venv")
    options = ["--quiet", "--disable-pip-version-check", "--constraint", str(ROOT / "requirements/dev.txt")]
    await asyncio.to_thread(_run, python, "-m", "pip", "install", *options, wheel)
    out = await asyncio.to_thread(_run, python, "-I", "-c", _SCRIPT, running.address, cwd=tmp_path)
    found = json.loads(out)
    assert found["where"].startswith(str(tmp_path))
    assert found["text"] == "".join(found["pieces"]) == "Oslo"
    assert found["receipt"]
    assert found["refused"] == "sampling.top_p"
    assert not _OF_THE_SERVER & set(found["modules"])
    assert set(found["distributions"]) - _TOOLS <= _NEEDED


async def test_the_node_example(running: Running, node: NodeProbe) -> None:
    """It streams an answer, then prints the receipt; an error is printed with field and expectation, and its status."""
    command = [str(NODE), str(EXAMPLE / "example.js")]
    prompt = "What is the capital of Norway?"
    out = await asyncio.to_thread(_run, *command, prompt, running.address)
    assert out.startswith("Oslo\n")
    assert "fulcrum-large, CACHE_RESULT_" in out
    assert "LEVER_EXECUTION saved" in out
    gone = await asyncio.to_thread(
        subprocess.run, [*command, "x" * 20_000, running.address], capture_output=True, text=True, check=False
    )
    assert gone.returncode == 1
    assert "PROMPT_TOO_LONG" in gone.stderr
    assert "expected at most" in gone.stderr
