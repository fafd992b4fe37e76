"""Everything that only a GPU can tell, in one command: `python -m benchmarks.gpu`.

Correctness of the kernels on fresh inputs, time as a share of the measured copy bandwidth beside torch, launch of the
exact PTX in TensorRT's argument order by the CUDA driver, decode of the direct emitter beside transformers, similarity
search beside FAISS. Writes `docs/measurements/<device>.json` and `.md`. Without a GPU it says so and ends with 2.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import gpu_decode
from benchmarks.gpu_cases import Case, Sizes, cases, plain_attention
from benchmarks.gpu_launch import launched_as_tensorrt_does
from benchmarks.gpu_table import write
from kernels.cuda_driver import CudaDriver
from kernels.gqa_decode_attention.plugin import GQA_DECODE_REDUCE, reduce_constants
from kernels.launch import launch
from kernels.similarity_top_k.plugin import SIMILARITY_TOP_K, TOP_K_MERGE
from kernels.specimens import Specimen, specimen

FOLDER = Path("docs/measurements")
NO_GPU = 2
COPIED_BYTES = 1 << 30
ROUNDS = 30
TOLERANCE = 2e-2


def main(arguments: Sequence[str]) -> int:
    """The exit status: 0, or 2 where there is no GPU, or 1 where a kernel is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the JSON and the table go")
    parser.add_argument("--shapes", nargs="*", default=list(gpu_decode.SHAPES), help="decoders to measure")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(
            "benchmarks.gpu: torch finds no CUDA device, expected one NVIDIA GPU; nothing was measured", file=sys.stderr
        )
        return NO_GPU
    driver = CudaDriver()
    bandwidth = copy_bandwidth()
    kernels = [measure(case, driver, bandwidth) for case in cases(Sizes(), driver.architecture, "bf16", "cuda")]
    decoding = [
        decode(name, rows, driver.architecture, bandwidth) for name in given.shapes for rows in gpu_decode.BATCHES
    ]
    found = {
        "device": driver.name,
        "architecture": driver.architecture,
        "copy_bytes_per_s": bandwidth,
        "kernels": kernels,
        "decode": decoding,
        "search": search(Sizes(), driver.architecture),
    }
    print(write(found, given.folder))
    return 0 if all(one["right"] and one["ptx_right"] for one in kernels) else 1


def measure(case: Case, driver: CudaDriver, bandwidth: float) -> dict[str, Any]:
    """One kernel: right or not, both ways of launching it, and how long it takes beside torch."""
    chosen = specimen(case.contract, case.constants, "bf16", driver.architecture)
    outputs = run(chosen, case.inputs)
    plain = case.plain
    if case.contract.name == "gqa_decode_split":
        outputs_of_plain, found = plain_attention(Sizes(), case.inputs), joined(chosen, case.inputs, outputs)
        plain = lambda given: plain_attention(Sizes(), given)  # noqa: E731 - the pair's one baseline
    elif case.contract.name == "similarity_top_k":
        found = best(outputs, Sizes().k)
        outputs_of_plain = (case.inputs["queries"].float() @ case.inputs["matrix"].float().T).topk(Sizes().k).values
        plain = lambda given: (given["queries"] @ given["matrix"].T).topk(Sizes().k).values  # noqa: E731
    else:
        assert plain is not None
        found, outputs_of_plain = outputs[0], plain(case.inputs)
    seconds = best_time(lambda: run(chosen, case.inputs))
    compiled = torch.compile(plain)
    return {
        "kernel": case.contract.name,
        "right": bool(torch.allclose(found.float(), outputs_of_plain.float(), rtol=TOLERANCE, atol=TOLERANCE)),
        "ptx_right": launched_as_tensorrt_does(chosen, driver, case.inputs, outputs),
        "seconds": seconds,
        "share_of_copy": case.moved_bytes / seconds / bandwidth,
        "least_share": case.least_share,
        "eager_seconds": best_time(lambda: plain(case.inputs)),
        "compiled_seconds": best_time(lambda: compiled(case.inputs)),
    }


def run(chosen: Specimen, inputs: Mapping[str, Any]) -> Sequence[Any]:
    """The kernel by Triton's own launcher."""
    options = {"num_warps": chosen.configuration.num_warps, "num_stages": chosen.configuration.num_stages}
    return launch(chosen.contract, inputs, chosen.constants, chosen.activation, options)


def joined(chosen: Specimen, inputs: Mapping[str, Any], shares: Sequence[Any]) -> Any:
    """Split attention's shares after the reduction."""
    partial, statistics = shares
    fixed = reduce_constants(partial.shape[1], partial.shape[3], partial.shape[2])
    asked = {"partial": partial, "statistics": statistics, "like": inputs["queries"]}
    return run(specimen(GQA_DECODE_REDUCE, fixed, chosen.activation, chosen.architecture), asked)[0]


def best(candidates: Sequence[Any], k: int) -> Any:
    """Scores after merging until one chunk is left."""
    scores, ids = candidates
    while scores.shape[1] > 1:
        rows = scores.shape[0]
        flat = {"scores": scores.reshape(rows, -1), "ids": ids.reshape(rows, -1)}
        scores, ids = run(specimen(TOP_K_MERGE, {"K": k}, "bf16", 80), flat)
    return scores[:, 0]


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of a copy on the device."""
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / best_time(lambda: target.copy_(source))


def best_time(call: Callable[[], Any]) -> float:
    """Seconds of one call, the median of ROUNDS, each with the second-level cache cleared before it."""
    cleared = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    call()
    seconds = []
    for _ in range(ROUNDS):
        cleared.zero_()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return float(np.median(seconds))


def decode(name: str, rows: int, architecture: int, bandwidth: float) -> dict[str, Any]:
    """The direct emitter beside transformers, and its share of what bandwidth allows."""
    shape = gpu_decode.shape_of(name)
    rate, moved = gpu_decode.direct_rate(shape, rows, architecture)
    torch.cuda.empty_cache()
    beside = gpu_decode.transformers_rate(shape, rows) if importlib.util.find_spec("transformers") else None
    torch.cuda.empty_cache()
    bound = rows * bandwidth / moved
    return {"shape": name, "rows": rows, "tokens_per_s": rate, "transformers": beside, "share_of_bound": rate / bound}


def search(sizes: Sizes, architecture: int) -> dict[str, float]:
    """Milliseconds a query: our kernel with its merges, FAISS on the CPU, and on the GPU where installed."""
    import faiss

    case = next(one for one in cases(sizes, architecture, "bf16", "cuda") if one.contract is SIMILARITY_TOP_K)
    chosen = specimen(case.contract, case.constants, "bf16", architecture)
    found = {"kernel": 1000 * best_time(lambda: best(run(chosen, case.inputs), sizes.k))}
    stored, asked = (case.inputs[name].float().cpu().numpy() for name in ("matrix", "queries"))
    index = faiss.IndexFlatIP(sizes.features)
    index.add(stored)
    began = time.perf_counter()
    index.search(asked, sizes.k)
    found["faiss cpu"] = 1000 * (time.perf_counter() - began)
    if hasattr(faiss, "StandardGpuResources"):
        on_gpu = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
        on_gpu.search(asked, sizes.k)
        began = time.perf_counter()
        on_gpu.search(asked, sizes.k)
        found["faiss gpu"] = 1000 * (time.perf_counter() - began)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
