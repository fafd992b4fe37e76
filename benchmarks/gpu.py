"""Everything that only a GPU can tell, in one command: `python -m benchmarks.gpu`.

Correctness of the kernels on fresh ragged inputs by Triton's launch and by that of the exact PTX in TensorRT's argument
order, time of that PTX as a share of the measured copy bandwidth beside torch, decode of the direct emitter beside
transformers, similarity search beside FAISS. Writes `docs/measurements/<device>.json` and `.md` after each measurement;
one that fails is recorded, and the others go on. Without a GPU it says so and ends with 2.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import gpu_decode, gpu_search
from benchmarks.gpu_cases import Case, Launcher, Sizes, Target
from benchmarks.gpu_encoder_cases import RAGGED, every_case, timed_cases
from benchmarks.gpu_launch import ByDriver, agrees, by_triton
from benchmarks.gpu_table import write
from benchmarks.gpu_timing import captured, copy_bandwidth, median_seconds
from kernels.cuda_driver import CudaDriver

FOLDER = Path("docs/measurements")
NO_GPU = 2
CHECKED = ("fp32", "fp16", "bf16")


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
    report = Report(device, given.folder)
    _check_and_time(report, driver, target, bandwidth)
    for name in given.shapes:
        gpu_decode.add_to(report.add, name, target, bandwidth)
    gpu_search.add_to(report.add, Sizes(), target, ByDriver(driver, _stream, timed=True))
    print(report.text)
    return 0 if report.right else 1


def _check_and_time(report: Report, driver: CudaDriver, target: Target, bandwidth: float) -> None:
    """Every kernel at small ragged shapes, then at real ones."""
    by_driver, timed = ByDriver(driver, _stream), ByDriver(driver, _stream, timed=True)
    for kind in CHECKED:
        check(report.add, replace(target, activation=kind), by_driver)
    for shape, case in timed_cases(Sizes(), target):
        report.add("kernels", case.name, lambda s=shape, c=case: speed(s, c, timed, bandwidth))  # type: ignore[misc]


def _stream() -> int:
    return int(torch.cuda.current_stream().cuda_stream)


def check(add: Callable[..., None], target: Target, by_driver: Launcher) -> None:
    """Adds for each operator and type whether both ways of launching it agree with its reference at ragged shapes."""
    for sizes in RAGGED:
        for case in every_case(sizes, target):

            def verdicts(case: Case = case) -> dict[str, Any]:
                right, ptx_right = agrees(case, by_triton), agrees(case, by_driver)
                return {"kernel": case.name, "type": target.activation, "right": right, "ptx_right": ptx_right}

            add("checks", f"{case.name} in {target.activation}", verdicts)


def speed(shape: str, case: Case, launcher: Launcher, bandwidth: float) -> dict[str, Any]:
    """How long all kernels of an operator take beside torch, which computes all the same outputs; CUDA graphs all."""
    torch.compiler.reset()
    compiled = torch.compile(case.plain, dynamic=False)
    seconds = median_seconds(captured(lambda: case.run(launcher, case.inputs)))
    return {
        "kernel": case.name,
        "shape": shape,
        "seconds": seconds,
        "share_of_copy": case.moved_bytes / seconds / bandwidth,
        "least_share": case.least_share,
        "eager_seconds": median_seconds(captured(lambda: case.plain(case.inputs))),
        "compiled_seconds": median_seconds(captured(lambda: compiled(case.inputs))),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
