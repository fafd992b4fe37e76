"""Every kernel compiles for every architecture without a GPU, takes what was recorded, and launches as contracted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernels import aot, machine_code, resources
from kernels.add_rms_norm.plugin import ADD_RMS_NORM, ADD_RMS_NORM_FP8
from kernels.specimens import specimens
from kernels.tuning import ARCHITECTURES, configuration
from kernels.w4a16_gemv.plugin import W4A16_GEMV

ROOT = Path(__file__).parents[2]
HEADER = ".target sm_90a\n\t// f\n.visible .entry f(\n"
POINTER, NUMBER = "\t.param .u64 .ptr .global .align 1 f_param_{}", "\t.param .u32 f_param_{}"


def ptx(*parameters: str, body: str = "ret;") -> str:
    """A kernel as Triton writes it, of these parameters."""
    lines = ",\n".join(one.format(place) for place, one in enumerate(parameters))
    return f"{HEADER}{lines}\n)\n.reqntid 128\n{{\n{body}\n}}\n"


def compiling() -> dict[str, str]:
    """The environment of a process that compiles kernels instead of interpreting them."""
    return {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}


@pytest.fixture(scope="module")
def measured() -> Any:
    """What `python -m kernels.resources` says, in a process that compiles instead of interpreting."""
    command = [sys.executable, "-m", "kernels.resources"]
    done = subprocess.run(command, cwd=ROOT, env=compiling(), capture_output=True, text=True, timeout=280)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_compiles_for_every_architecture(measured: Any) -> None:
    """PTX with the contract's parameters, which ptxas takes, of each kernel that an architecture can run."""
    for architecture in ARCHITECTURES:
        expected = {one.contract.name for one in specimens(architecture)}
        assert measured[f"sm_{architecture}"].keys() == expected
    assert set(measured["sm_90"]) - set(measured["sm_80"]) == {ADD_RMS_NORM_FP8.name}


def test_compiles_for_float32_too() -> None:
    """The type that `benchmarks.gpu` also checks on, which the interpreter cannot tell to compile."""
    code = (
        "from kernels import aot, specimens as s\n"
        "for one in s.specimens(80):\n"
        "    aot.compile_ahead(s.specimen(one.contract, one.constants, 'fp32', 80))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=compiling(), capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]


def test_nothing_grows(measured: Any) -> None:
    """Registers, spills, shared memory and loops are at most what is committed; smaller is recorded by --write."""
    assert resources.growth(measured, resources.recorded()) == []
    assert sum(one["spill_bytes"] for kernels in measured.values() for one in kernels.values()) == 0


def test_a_weight_costs_few_instructions(measured: Any) -> None:
    """The 4-bit product's loop: at more than four a weight and thread, unpacking and not memory would be its limit."""
    for architecture in ARCHITECTURES:
        chosen = next(one for one in specimens(architecture) if one.contract is W4A16_GEMV)
        sizes, threads = chosen.constants, 32 * chosen.configuration.num_warps
        weights = sizes["GROUP"] * sizes["BLOCK_GROUPS"] * sizes["BLOCK_OUTPUTS"] // threads
        loop = measured[f"sm_{architecture}"][W4A16_GEMV.name]["loop_instructions"]
        assert 1 < loop / weights < 4


def test_a_loop_is_found_in_machine_code() -> None:
    """From a label to the branch back to it; a branch forward is none."""
    code = [
        "        /*0000*/                   MOV R1, c[0x0][0x28] ;",
        "        /*0010*/              @P0 BRA `(.L_x_1) ;",
        ".L_x_0:",
        "        /*0020*/                   FADD R1, R1, R2 ;",
        "        /*0030*/             @!P1 FMUL R1, R1, R2 ;",
        "        /*0040*/               @P0 BRA `(.L_x_0) ;",
        ".L_x_1:",
        "        /*0050*/                   EXIT ;",
    ]
    assert machine_code.longest(code) == 3
    assert machine_code.longest(code[:2] + code[6:]) == 0


def test_growth_is_noticed() -> None:
    """One register more, and a kernel that was never recorded, are told; less is not."""
    record = {"sm_90": {"a": {"registers": 32, "spill_bytes": 0, "shared_bytes": 64}}}
    more = {"sm_90": {"a": {"registers": 33, "spill_bytes": 0, "shared_bytes": 32}}}
    assert resources.growth(more, record) == ["sm_90 a: registers 33, recorded 32"]
    assert resources.growth({"sm_90": {"b": {"registers": 1}}}, record) == [
        "sm_90 b: registers 1, recorded nothing recorded"
    ]


def test_hidden_parameters_go() -> None:
    """The last two pointers are taken out, and nothing else is changed."""
    stripped = aot._without_hidden(ptx(POINTER, NUMBER, POINTER, POINTER, POINTER), "f")
    assert stripped == ptx(POINTER, NUMBER, POINTER)
    assert aot.parameter_types(stripped) == ["u64", "u32", "u64"]


def test_a_hidden_parameter_in_use_is_refused() -> None:
    """A kernel that needs scratch memory, or whose last parameters are others, is not launched without them."""
    with pytest.raises(ValueError, match="f_param_1 is used"):
        aot._without_hidden(ptx(POINTER, POINTER, POINTER, body="ld.param.b64 %rd1, [f_param_1];"), "f")
    with pytest.raises(ValueError, match="f_param_2 is used"):
        aot._without_hidden(ptx(POINTER, POINTER, NUMBER), "f")


def test_swapped_arguments_are_noticed() -> None:
    """A contract that gives sizes and outputs in another order than the kernel expects other PTX."""
    assert aot.expected_types(ADD_RMS_NORM) == ["u64"] * 5
    contracts = {one.contract.name: one.contract for one in specimens(90)}
    assert aot.expected_types(contracts["rope_kv_append"]) == ["u64"] * 8 + ["u32"] * 2 + ["u64"] * 3


@pytest.mark.parametrize(("architecture", "family"), [(86, 80), (89, 80), (103, 100), (121, 120)])
def test_an_architecture_is_tuned_as_the_last_before_it(architecture: int, family: int) -> None:
    """What nobody has written down gets its family's blocks, and FP8 where there is any."""
    known = {one.contract.name: one for one in specimens(family)}
    for one in specimens(architecture):
        assert one.configuration == configuration(one.contract, family)
    assert {one.contract.name for one in specimens(architecture)} - set(known) <= {ADD_RMS_NORM_FP8.name}
    assert (ADD_RMS_NORM_FP8.name in {one.contract.name for one in specimens(architecture)}) == (architecture >= 89)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, 89])
def test_every_kernel_has_a_configuration(architecture: int) -> None:
    """All contracts are tuned, for architectures that nobody has written down too."""
    for one in specimens(architecture):
        assert configuration(one.contract, architecture).num_warps in (1, 2, 4, 8, 16)
