"""Times every candidate configuration of the kernels on a GPU: `tuning.toml` comes of `python -m benchmarks.gpu_tune`.

Candidates are compiled and assembled in as many processes as there are cores; those that do not compile or that compute
something else than the present configuration are left out. Prints for each kernel the fastest at each shape beside the
present one, and writes all times as JSON.
"""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_cases import Case, Inputs, Sizes, Target
from benchmarks.gpu_decoder_cases import attention_case, gemv_case, norm_case, rope_case, sample_case
from benchmarks.gpu_encoder_cases import TOKENS, pool_case, similarity_case
from benchmarks.gpu_launch import current_stream, tensors
from benchmarks.gpu_timing import call_seconds
from kernels.aot import Compiled, assemble, compile_ahead
from kernels.contract import Constants
from kernels.cuda_driver import CudaDriver, CudaUnavailable
from kernels.device_kernel import arguments_of
from kernels.launch import new_outputs
from kernels.specimens import Specimen, specimens
from kernels.tuning import Configuration

NO_GPU = 2
CALLS, ROUNDS = 20, 5
LISTED = 4
AGREE = 0.02  # of the largest output: what another order of sums may change
Builder = Callable[[Sizes, Target], Case]
Made = tuple[Compiled, bytes, int] | str  # a kernel, its machine code, bytes spilled; or why it is no candidate


@dataclass(frozen=True)
class Space:
    """One kernel's candidates, the product of what each constant may be, and the operator in which they are timed."""

    kernel: str
    candidates: Mapping[str, Sequence[int]]
    build: Builder
    sizes: Sequence[Sizes]


def spaces() -> Sequence[Space]:
    """All kernels', at the sizes that `benchmarks.gpu` times."""
    full = Sizes()
    one, many = replace(full, rows=1), replace(full, positions=TOKENS)
    few = (one, full)
    plain: Builder = lambda sizes, target: norm_case(sizes, target, quantised=False)  # noqa: E731 - three of a kind
    coarse: Builder = lambda sizes, target: norm_case(sizes, target, quantised=True)  # noqa: E731
    drawn: Builder = lambda sizes, target: sample_case(sizes, target, greedy=False)  # noqa: E731
    split = {"SPLITS": (16, 32), "BLOCK_KEYS": (32, 64), "num_warps": (1, 2, 4), "num_stages": (3, 4, 5)}
    product = {
        "BLOCK_OUTPUTS": (16, 32), "BLOCK_GROUPS": (4, 8, 16), "AHEAD": (0, 1), "num_warps": (4, 8),
        "num_stages": (1, 3),
    }  # fmt: skip
    scan = {
        "BLOCK_ROWS": (32, 64, 128, 256), "BLOCK_FEATURES": (32, 64, 128), "num_warps": (2, 4, 8),
        "num_stages": (1, 2, 3, 4, 6),
    }  # fmt: skip
    warps = (1, 2, 4, 8, 16)
    return [
        Space("add_rms_norm", {"num_warps": (4, 8, 16, 32), "num_stages": (1,)}, plain, (one, many)),
        Space("add_rms_norm_fp8", {"num_warps": (4, 8, 16, 32), "num_stages": (1,)}, coarse, (one, many)),
        Space("rope_kv_append", {"BLOCK_HEADS": (4, 8, 16, 32, 64), "num_warps": warps, "num_stages": (1,)},
              rope_case, (one, full, many)),
        Space("gqa_decode_split", split, attention_case, few),
        Space("gqa_decode_reduce", {"num_warps": warps[:4], "num_stages": (1,)}, attention_case, few),
        Space("w4a16_gemv", product, gemv_case, few),
        Space("mean_pool_l2", {"BLOCK_POSITIONS": (4, 8, 16), "STAGES": (2, 3, 4, 6), "num_warps": (2, 4, 8),
              "num_stages": (1,)}, pool_case, (full,)),
        Space("sample_candidates", {"CAP": (64,), "BLOCK": (2048, 4096, 8192), "num_warps": (4, 8, 16),
              "num_stages": (1,)}, drawn, few),
        Space("sample_top_k_top_p", {"BLOCK": (2048, 4096, 8192, 16384), "num_warps": (8, 16, 32), "num_stages": (1,)},
              drawn, few),
        Space("similarity_top_k", scan, similarity_case, (full,)),
        Space("top_k_merge", {"BLOCK": (512, 1024, 2048, 4096), "num_warps": (2, 4, 8), "num_stages": (1,)},
              similarity_case, (full,)),
    ]  # fmt: skip


def configurations(space: Space) -> list[Configuration]:
    """The candidates in order."""
    found = []
    for values in itertools.product(*space.candidates.values()):
        named = dict(zip(space.candidates, values, strict=True))
        warps, stages = named.pop("num_warps"), named.pop("num_stages")
        found.append(Configuration(named, warps, stages))
    return found


def key_of(chosen: Specimen) -> str:
    """Names a kernel with all that it is compiled for."""
    return f"{chosen.contract.name} {sorted(chosen.constants.items())} {chosen.configuration} {chosen.activation}"


def specimens_of(case: Case) -> list[Specimen]:
    """The kernels that a case launches; none is."""
    found: list[Specimen] = []

    def launcher(chosen: Specimen, inputs: Inputs) -> Sequence[Any]:
        found.append(chosen)
        return new_outputs(chosen.contract, inputs, chosen.constants, chosen.activation)

    case.run(launcher, case.inputs)
    return found


def assembled(kernel: str, constants: Constants, tuned: Configuration, activation: str, architecture: int) -> Made:
    """Runs in a process of its own, to which a contract cannot be sent, but its name can."""
    contract = next(one.contract for one in specimens(architecture) if one.contract.name == kernel)
    try:
        made = compile_ahead(Specimen(contract, constants, tuned, activation, architecture))
        code = assemble(made)
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises
        return f"{type(error).__name__}: {error}"[:200]
    return replace(made, ptx=""), code.cubin, code.spill_bytes


class Candidates:
    """Kernels in every configuration that is tried, compiled beside one another.

    Args:
        executor: compiles.
        target: of the device that will run them.
    """

    def __init__(self, executor: Executor, target: Target) -> None:
        self._executor = executor
        self._target = target
        self._made: dict[str, Future[Made]] = {}

    def begin(self, space: Space) -> None:
        """Compiles all of a space; what only its shapes are needed for lies nowhere."""
        for tried in (None, *configurations(space)):
            for sizes in space.sizes:
                for one in specimens_of(self.case(space, sizes, tried, "meta")):
                    if key_of(one) not in self._made:
                        wanted = (one.contract.name, dict(one.constants), one.configuration)
                        future = self._executor.submit(assembled, *wanted, one.activation, one.architecture)
                        self._made[key_of(one)] = future

    def case(self, space: Space, sizes: Sizes, tried: Configuration | None, device: str | None = None) -> Case:
        """The operator with one configuration, on the same inputs as with any other."""
        torch.manual_seed(1)
        configuration = {space.kernel: tried} if tried else {}
        return space.build(sizes, replace(self._target, tried=configuration, device=device or self._target.device))

    def made(self, chosen: Specimen) -> tuple[Compiled, bytes, int]:
        """Waits for it.

        Raises:
            ValueError: it is no candidate; the message says why.
        """
        found = self._made[key_of(chosen)].result()
        if isinstance(found, str):
            raise ValueError(found)
        return found


class Launches:
    """Launches candidates' machine code by the CUDA driver, on torch's stream."""

    def __init__(self, driver: CudaDriver, candidates: Candidates) -> None:
        self._driver = driver
        self._candidates = candidates

    def __call__(self, chosen: Specimen, inputs: Inputs) -> Sequence[Any]:
        """Outputs."""
        made, code, _ = self._candidates.made(chosen)
        function = self._driver.load(code, made.entry, made.shared_bytes)
        given, contract = tensors(inputs), chosen.contract
        outputs = new_outputs(contract, inputs, chosen.constants, chosen.activation)
        values = arguments_of(contract, chosen.constants, given, [tensor.data_ptr() for tensor in outputs])
        grid = contract.grid_of({name: tensor.sizes for name, tensor in given.items()}, chosen.constants)
        self._driver.launch(function, grid, made.threads, made.shared_bytes, values, current_stream())
        return outputs


def timed(space: Space, candidates: Candidates, launches: Launches) -> list[dict[str, Any]]:
    """Each configuration's microseconds by size, or why it has none; the present one first, which names none."""
    found: list[dict[str, Any]] = []
    expected: list[Any] = []
    for tried in (None, *configurations(space)):
        one: dict[str, Any] = {}
        if tried is not None:
            one = {**tried.constants, "num_warps": tried.num_warps, "num_stages": tried.num_stages}
        try:
            one["us"] = []
            for place, sizes in enumerate(space.sizes):
                case = candidates.case(space, sizes, tried)
                outputs = case.run(launches, case.inputs)
                if tried is None:
                    expected.append(outputs)
                if not all(map(agree, outputs, expected[place])):
                    raise ValueError(f"computes something else at size {place}")
                seconds = call_seconds(partial(case.run, launches), case.inputs, CALLS, ROUNDS)
                one["us"].append(round(1e6 * seconds, 2))
        except (ValueError, CudaUnavailable) as error:
            if tried is None:
                raise
            one["refused"] = str(error)
        found.append(one)
    return found


def agree(found: Any, expected: Any) -> bool:
    """Whether an output is the present configuration's but for the order of its sums; NaN is never."""
    if not expected.is_floating_point():
        return bool(torch.equal(found, expected))
    one, other = found.float(), expected.float()
    return bool((one - other).abs().max() <= AGREE * other.abs().max())


def table(kernel: str, found: Sequence[Mapping[str, Any]]) -> str:
    """The present times, and the fastest at each size and on the whole."""
    sizes = len(found[0]["us"])
    whole = [one for one in found[1:] if len(one["us"]) == sizes]
    lines = [f"{kernel}: now {found[0]['us']} us; {len(whole)} of {len(found) - 1} candidates"]
    lines += [f"  {dict(one)}" for one in sorted(whole, key=lambda one: math.prod(one["us"]))[:LISTED]]
    for place in range(sizes if sizes > 1 and whole else 0):
        lines += [f"  size {place}: {min(whole, key=lambda one: one['us'][place])}"]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, or 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_tune", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("tuning-times.json"), help="where all times go, as JSON")
    parser.add_argument(
        "--kernels", nargs="*", choices=[one.kernel for one in spaces()], help="which; all unless given"
    )
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("benchmarks.gpu_tune: torch finds no CUDA device, expected one NVIDIA GPU", file=sys.stderr)
        return NO_GPU
    driver = CudaDriver()
    found: dict[str, Any] = {"device": driver.name}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        candidates = Candidates(pool, Target(driver.architecture, "bf16", "cuda"))
        chosen = [space for space in spaces() if not given.kernels or space.kernel in given.kernels]
        for space in chosen:
            candidates.begin(space)
        launches = Launches(driver, candidates)
        for space in chosen:
            try:
                times = timed(space, candidates, launches)
            except Exception as error:  # noqa: BLE001 - of this kernel as it is; the others go on
                print(f"{space.kernel}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            found[space.kernel] = times
            given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(table(space.kernel, times), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
