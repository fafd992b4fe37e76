"""Everything that only a GPU can tell, in one command: `python -m benchmarks.gpu`.

Correctness of the kernels on fresh ragged inputs by Triton's launch and by that of the exact PTX in TensorRT's argument
order, time of that PTX as a share of the measured copy bandwidth beside torch, decode of the direct emitter beside
transformers, similarity search beside FAISS. Writes `docs/measurements/<device>.json` and `.md` after each measurement;
one that fails is recorded, and the others go on. Without a GPU it says so and ends with 2.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_decode, gpu_search
from benchmarks.gpu_cases import Case, Launcher, Sizes, Target
from benchmarks.gpu_encoder_cases import RAGGED, every_case, timed_cases
from benchmarks.gpu_launch import ByDriver, agrees, by_triton, current_stream
from benchmarks.gpu_table import write
from benchmarks.gpu_timing import call_seconds, copy_bandwidth
from kernels.cuda_driver import CudaDriver

FOLDER = Path("docs/measurements")
NO_GPU = 2
CHECKED = ("fp32", "fp16", "bf16")
PARTS = 4


class Report:
    """What was found so far, on disk after every measurement.

    Args:
        found: of the device.
        folder: where the JSON and the table go.
    """

    def __init__(self, found: dict[str, Any], folder: Path) -> None:
        self.found = {**found, "checks": [], "kernels": [], "decode": [], "search": [], "failed": []}
        self.text = ""
        self._folder = folder

    def extend(self, checks: Sequence[dict[str, Any]], failed: Sequence[str]) -> None:
        """Takes up what another process found."""
        self.found["checks"] += checks
        self.found["failed"] += failed
        self.text = write(self.found, self._folder)

    def add(self, section: str, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measures; whatever goes wrong stands in the report, and nothing else is lost by it."""
        try:
            self.found[section].append(measure())
        except Exception as error:  # noqa: BLE001 - a failed measurement is a finding
            self.found["failed"].append(f"{section}, {name}: {type(error).__name__}: {error}"[:500])
        self.text = write(self.found, self._folder)

    @property
    def right(self) -> bool:
        """Whether every kernel is, and nothing failed."""
        checks = self.found["checks"]
        return bool(checks) and all(one["right"] and one["ptx_right"] for one in checks) and not self.found["failed"]


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, or 2 where there is no GPU, or 1 where a kernel is wrong or a measurement failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the JSON and the table go")
    shapes = list(gpu_decode.SHAPES)
    parser.add_argument("--shapes", nargs="*", choices=shapes, default=shapes, help="decoders to measure")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(
            "benchmarks.gpu: torch finds no CUDA device, expected one NVIDIA GPU; nothing was measured", file=sys.stderr
        )
        return NO_GPU
    driver, bandwidth = CudaDriver(), copy_bandwidth()
    target = Target(driver.architecture, "bf16", "cuda")
    device = {"device": driver.name, "architecture": driver.architecture, "copy_bytes_per_s": bandwidth}
    device |= {name: version(name) for name in ("torch", "triton")}
    report = Report(device, given.folder)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        compiling = [pool.submit(compile_plain, part, target) for part in range(PARTS)]
        compiling += [pool.submit(gpu_decode.compile_transformers, name) for name in given.shapes]
        for checks in [pool.submit(check, kind, place, target) for kind in CHECKED for place in range(len(RAGGED))]:
            report.extend(*checks.result())
        wait(compiling)
    timed = ByDriver(driver, current_stream, timed=True)
    for shape, case in timed_cases(Sizes(), target):
        report.add("kernels", case.name, lambda s=shape, c=case: speed(s, c, timed, bandwidth))  # type: ignore[misc]
    for name in given.shapes:
        gpu_decode.add_to(report.add, name, target, bandwidth)
    gpu_search.add_to(report.add, Sizes(), target, timed)
    print(report.text)
    return 0 if report.right else 1


def check(kind: str, place: int, target: Target) -> tuple[list[dict[str, Any]], list[str]]:
    """Of each operator in one type at one ragged size, in a process of its own: whether each way of launching it agrees
    with its reference; and what failed."""
    rows: list[dict[str, Any]] = []
    failed: list[str] = []

    def verdict(case: Case, launcher: Launcher) -> bool:
        try:
            return agrees(case, launcher)
        except Exception as error:  # noqa: BLE001 - of one way; the other has a verdict still
            failed.append(f"checks, {case.name} in {kind}: {type(error).__name__}: {error}"[:500])
            return False

    by_driver = ByDriver(CudaDriver(), current_stream)
    for case in every_case(RAGGED[place], replace(target, activation=kind)):
        verdicts = {"right": verdict(case, by_triton), "ptx_right": verdict(case, by_driver)}
        rows.append({"kernel": case.name, "type": kind, **verdicts})
    return rows, failed


def compile_plain(part: int, target: Target) -> None:
    """Fills torch's cache on disk with a part of what `speed` compiles, in a process of its own."""
    for _, case in list(timed_cases(Sizes(), target))[part::PARTS]:
        with suppress(Exception):  # `speed` will meet it too, and say so
            torch.compile(case.plain, dynamic=False)(case.inputs)


def speed(shape: str, case: Case, launcher: Launcher, bandwidth: float) -> dict[str, Any]:
    """How long all kernels of an operator take beside torch, which computes all the same outputs; CUDA graphs all."""
    seconds = call_seconds(lambda given: case.run(launcher, given), case.inputs)
    return {
        "kernel": case.name,
        "shape": shape,
        "seconds": seconds,
        "share_of_copy": case.moved_bytes / seconds / bandwidth,
        "least_share": case.least_share,
        "eager_seconds": call_seconds(case.plain, case.inputs),
        "compiled_seconds": _compiled_seconds(case),
    }


def _compiled_seconds(case: Case) -> float | None:
    """Of torch.compile's; None where it cannot."""
    torch.compiler.reset()
    try:
        return call_seconds(torch.compile(case.plain, dynamic=False), case.inputs)
    except Exception as error:  # noqa: BLE001 - the compiler's own, which is no fault of the kernel
        print(f"torch.compile, {case.name}: {type(error).__name__}: {error}"[:300], file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
