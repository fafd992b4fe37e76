"""TensorRT's plugins and networks hold as far as they can without its libraries: real bindings over stubs of these."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernels.aot import expected_types
from kernels.contract import ACTIVATION
from kernels.specimens import specimens
from kernels.tensorrt_plugins import CONTRACTS
from services.executor.tensorrt_builder import EngineKey
from tests.unit.executor.families import FAMILIES

ROOT = Path(__file__).parents[2]
LIBRARIES = {
    "libnvinfer.so.11": "tensorrt_stubs.c",
    "libnvinfer_plugin.so.11": "tensorrt_stubs.c",
    "libnvonnxparser.so.11": "tensorrt_stubs.c",
    "libcuda.so.1": "cuda_stub.c",
}
ARCHITECTURE = 90
TYPES = {
    ACTIVATION: "BF16", "fp32": "FLOAT", "fp16": "HALF", "i32": "INT32", "i8": "INT8", "fp8e4nv": "FP8"
}  # fmt: skip
# How far rounding alone may take results: a network of random weights makes steps of another layer's rounding larger.
ROUNDING = {
    "full": {"fp32": 1e-5, "fp16": 0.01, "bf16": 0.05},
    "int8": {"fp32": 1e-5, "fp16": 0.15, "bf16": 0.3},
    "fp8": {"fp32": 1e-5, "fp16": 0.15, "bf16": 0.3},
    "int4": {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.1},
    "bert mean": {"fp32": 1e-5, "fp16": 0.003, "bf16": 0.02},
    "bert cls": {"fp32": 1e-5, "fp16": 0.003, "bf16": 0.02},
}


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libraries of TensorRT's and the driver's names."""
    folder = tmp_path_factory.mktemp("stubs")
    for name, code in LIBRARIES.items():
        source, library = Path(__file__).with_name(code), folder / name
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
    assert found["shared_bytes"] == found["needed_shared_bytes"]
    kinds = [f"DataType.{TYPES[one.type]}" for one in (*contract.inputs, *contract.outputs)]
    assert found["types"] == kinds
    described = zip(contract.outputs, kinds[len(names) :], strict=True)
    assert found["output_types"] == [None if one.aliases else kind for one, kind in described]


@pytest.mark.parametrize("case", FAMILIES)
def test_a_network_computes_the_model(networks: Any, case: str) -> None:
    """Ragged prefill, further chunks and single tokens over slots in any order give the NumPy emitter's results."""
    assert networks["errors"][case] < 1e-5


@pytest.mark.parametrize("activation", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("case", ROUNDING)
def test_a_network_is_of_its_type(networks: Any, case: str, activation: str) -> None:
    """In every type of activations and precision of weights, types agree at each layer, and so do results: in float32
    with the same rounding in NumPy, in the others with it but for their own."""
    assert networks["errors"][f"{case} {activation}"] < ROUNDING[case][activation]


def test_quantising_is_explicit(networks: Any) -> None:
    """Quantise and dequantise stand in the network."""
    assert {"add_quantize", "add_dequantize"} <= set(networks["called"])


@pytest.fixture(scope="module")
def session(stubs: Path) -> Any:
    """The TensorRT session over a runtime that evaluates its network, beside ONNX Runtime's session."""
    return run("tests.kernels.session_process", stubs)


def test_the_session_answers_as_the_one_on_the_cpu(session: Any) -> None:
    """Mixed passes of chunks and single tokens, with and without logits, then a prefix reused by another slot."""
    assert session["difference"] < 1e-4


def test_an_engine_is_built_once(session: Any) -> None:
    """It is found again by model, TensorRT's version, GPU, options and our code; timings lie beside it. One of newer
    code takes the place of the older, and of one that cannot be loaded."""
    assert session["built"] == [1, 2, 3, 4], "first and again, in another precision, with other kernels, damaged"
    assert session["plans"] == 2, "one a precision, of the code as it is"
    assert [name.rsplit(".", 1)[1] for name in session["files"]] == ["plan", "cache"]


def test_the_device_is_given_back(session: Any) -> None:
    """Memory, stream and device: when a session is closed, and when TensorRT refused and the CPU serves instead."""
    open_session, closed, refused = session["held"]
    assert open_session > 10
    assert closed == 0
    assert refused == 0


def test_prefixes_move_on_the_device_as_on_the_host(session: Any) -> None:
    """Blocks are kept and restored, in any order, to the same bytes."""
    assert session["memory"]


def test_the_encoder_tells_the_vectors_of_the_one_on_the_cpu(session: Any) -> None:
    """For one text and for more than an engine takes at once, in a vector space of its own."""
    difference, spaces = session["encoder"]
    assert difference < 1e-5
    assert spaces == 3


def test_the_driver_gets_arguments_as_contracted(session: Any) -> None:
    """Grid, block, shared memory, then each value in its own width: pointers in 8 bytes, sizes in 4; loaded once."""
    assert session["launch"] == [5, 6, 1, 128, 1, 1, 100_000, 5, 2**40 + 1, 2, 7, 2**32 - 1, 2**63, 1]


def test_another_version_or_gpu_is_another_engine() -> None:
    """Nothing that an engine depends on may change and find the old one."""
    key = EngineKey("digest", "GPU", 90, {"slots": 1}, ["code"])
    names = [
        key.file_name("11.4"),
        key.file_name("11.5"),
        EngineKey("other", "GPU", 90, {"slots": 1}, ["code"]).file_name("11.4"),
        EngineKey("digest", "another", 90, {"slots": 1}, ["code"]).file_name("11.4"),
        EngineKey("digest", "GPU", 100, {"slots": 1}, ["code"]).file_name("11.4"),
        EngineKey("digest", "GPU", 90, {"slots": 2}, ["code"]).file_name("11.4"),
        EngineKey("digest", "GPU", 90, {"slots": 1}, ["newer code"]).file_name("11.4"),
    ]
    assert len(set(names)) == len(names)
    assert key.file_name("11.4") == EngineKey("digest", "GPU", 90, {"slots": 1}, ["code"]).file_name("11.4")
