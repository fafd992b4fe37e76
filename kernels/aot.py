"""Compiles a kernel ahead of time, without a GPU, to the PTX that TensorRT's plugin and the CUDA driver launch."""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.contract import Contract
from kernels.specimens import Specimen

WARP = 32
HIDDEN_PARAMETERS = 2  # Triton's scratch pointers, which no launcher of ours passes
ALIGNED = [["tt.divisibility", 16]]
_PTX_VERSIONS = {80: 80, 90: 80, 100: 86, 120: 87}  # by architecture, the oldest: drivers refuse what is newer
_ENTRY = re.compile(r"(\.visible \.entry (\w+)\(\n)(.*?)(\n\))", re.DOTALL)
_PARAMETER = re.compile(r"\.param \.(\w+).*?(\w+_param_\d+)")
_USED = re.compile(r"Used (\d+) registers")
_SPILLED = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture: PTX whose parameters are the contract's, and how it is launched."""

    ptx: str
    entry: str
    threads: int
    shared_bytes: int


@dataclass(frozen=True)
class Assembled:
    """What ptxas makes of a kernel: machine code, and what one thread and one block take of the machine."""

    cubin: bytes
    registers: int
    spill_bytes: int
    shared_bytes: int


def compile_ahead(wanted: Specimen) -> Compiled:
    """PTX for the specimen's architecture.

    Raises:
        ValueError: the kernel needs scratch memory, or its parameters are not the contract's.
    """
    contract, signature = wanted.contract, wanted.contract.signature(wanted.activation)
    aligned = {(place,): ALIGNED for place, kind in enumerate(signature.values()) if kind.startswith("*")}
    constants = {name: wanted.constants[name] for name, kind in signature.items() if kind == "constexpr"}
    source = ASTSource(contract.function(), signature, constexprs=constants, attrs=aligned)
    options = {
        "num_warps": wanted.configuration.num_warps,
        "num_stages": wanted.configuration.num_stages,
        "ptx_version": max(version for least, version in _PTX_VERSIONS.items() if least <= wanted.architecture),
        "enable_fp_fusion": True,
    }
    with triton.knobs.compilation.scope():
        triton.knobs.compilation.disable_line_info = True  # it would name files of the machine that compiled
        made = triton.compile(source, target=GPUTarget("cuda", wanted.architecture, WARP), options=options)
    scratch = made.metadata.global_scratch_size + made.metadata.profile_scratch_size
    if scratch:
        raise ValueError(f"{contract.name}: needs {scratch} bytes of scratch memory, expected none")
    ptx = _without_hidden(made.asm["ptx"], contract.name)
    found, expected = parameter_types(ptx), expected_types(contract)
    if found != expected:
        raise ValueError(f"{contract.name}: PTX has parameters {found}, expected {expected}")
    return Compiled(ptx, made.metadata.name, made.metadata.num_warps * WARP, made.metadata.shared)


def parameter_types(ptx: str) -> list[str]:
    """PTX's types of the entry's parameters, in order."""
    return [kind for kind, _ in _PARAMETER.findall(_entry(ptx)[3])]


def expected_types(contract: Contract) -> list[str]:
    """PTX's types of what a launcher passes: pointers of inputs, int32 sizes, pointers of outputs."""
    return ["u64"] * len(contract.inputs) + ["u32"] * len(contract.sizes) + ["u64"] * len(contract.outputs)


def assemble(compiled: Compiled) -> Assembled:
    """Machine code by the ptxas that Triton brings.

    Raises:
        ValueError: ptxas refuses the PTX; the message is its own.
    """
    target = re.search(r"^\.target (\w+)", compiled.ptx, re.MULTILINE)
    if target is None:
        raise ValueError(f"{compiled.entry}: PTX names no target")
    tool = triton.knobs.nvidia.ptxas_blackwell  # for every architecture, whatever its name says
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(compiled.ptx, encoding="utf-8")
        command: Sequence[str] = [tool.path, "-v", f"--gpu-name={target[1]}", str(source), "-o", str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, our paths
        if done.returncode:
            raise ValueError(f"{compiled.entry}: ptxas refuses the PTX: {done.stderr.strip()}")
        registers, spilled = _USED.search(done.stderr), _SPILLED.search(done.stderr)
        if registers is None or spilled is None:
            raise ValueError(f"{compiled.entry}: ptxas does not say what it used: {done.stderr.strip()}")
        spills = int(spilled[1]) + int(spilled[2])
        return Assembled(binary.read_bytes(), int(registers[1]), spills, compiled.shared_bytes)


def _without_hidden(ptx: str, name: str) -> str:
    """The PTX without Triton's two scratch pointers."""
    entry = _entry(ptx)
    lines = entry[3].split(",\n")
    for line in lines[-HIDDEN_PARAMETERS:]:
        parameter = _PARAMETER.search(line)
        if parameter is None or parameter[1] != "u64" or ptx.count(parameter[2]) != 1:
            raise ValueError(f"{name}: {line.strip()} is used, expected an unused scratch pointer")
    kept = ",\n".join(lines[:-HIDDEN_PARAMETERS])
    return ptx[: entry.start(3)] + kept + ptx[entry.end(3) :]


def _entry(ptx: str) -> re.Match[str]:
    found = _ENTRY.search(ptx)
    if found is None:
        raise ValueError("PTX has no entry")
    return found
