"""TensorRT's plugins and networks hold as far as they can without its libraries: real bindings over stubs of these."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernels.aot import expected_types
from kernels.specimens import specimens
from kernels.tensorrt_plugins import CONTRACTS

ROOT = Path(__file__).parents[2]
LIBRARIES = ("libnvinfer.so.11", "libnvinfer_plugin.so.11", "libnvonnxparser.so.11")
ARCHITECTURE = 90


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libraries of TensorRT's names."""
    folder = tmp_path_factory.mktemp("stubs")
    for name in LIBRARIES:
        source, library = Path(__file__).with_name("tensorrt_stubs.c"), folder / name
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True, timeout=60)
    return folder


def run(module: str, stubs: Path) -> Any:
    """What a process with the bindings prints."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command, paths = [sys.executable, "-m", module], os.pathsep.join([str(ROOT), str(ROOT / "gen")])
    environment |= {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def answers(stubs: Path) -> Any:
    """What the plugins' register, autotune and aot_impl answer for given shapes."""
    return run("tests.kernels.plugin_process", stubs)


@pytest.fixture(scope="module")
def networks(stubs: Path) -> Any:
    """How far emitted networks are from the NumPy emitter, and what they consist of."""
    return run("tests.kernels.network_process", stubs)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_a_plugin_answers_as_contracted(answers: Any, contract: Any) -> None:
    """Shapes, aliases, launch, int32 arguments and the PTX's parameters are those of the contract for these sizes."""
    found = answers[contract.name]
    chosen = next(one for one in specimens(ARCHITECTURE) if one.contract is contract)
    dims = {one.name: tuple(shape) for one, shape in zip(contract.inputs, found["shapes"], strict=True)}
    assert found["outputs"] == [list(shape) for shape in contract.shapes_of(dims, chosen.constants)]
    names = [one.name for one in contract.inputs]
    assert found["aliases"] == [names.index(one.aliases) if one.aliases else None for one in contract.outputs]
    grid = list(contract.grid_of(dims, chosen.constants))
    assert found["launch"] == [*grid, *[1] * (3 - len(grid)), 32 * chosen.configuration.num_warps, 1, 1]
    assert found["sizes"] == list(contract.sizes_of(dims, chosen.constants))
    assert found["parameters"] == expected_types(contract)
    assert found["entry"] == contract.name
    assert len(found["types"]) == len(contract.inputs) + len(contract.outputs)


@pytest.mark.parametrize("case", ["llama", "qwen2", "bert mean", "bert cls"])
def test_a_network_computes_the_model(networks: Any, case: str) -> None:
    """Ragged prefill, further chunks and single tokens over slots in any order give the NumPy emitter's results."""
    assert networks["errors"][case] < 1e-5


@pytest.mark.parametrize("case", ["int8", "fp8", "int4"])
def test_quantising_is_explicit(networks: Any, case: str) -> None:
    """With quantise and dequantise in the network, results are those of the same rounding in NumPy, a step aside."""
    assert networks["errors"][case] < 0.02
    assert {"add_quantize", "add_dequantize"} <= set(networks["called"])
