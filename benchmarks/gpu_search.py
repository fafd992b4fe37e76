"""Milliseconds of a similarity search: our kernels with all merges, FAISS on the CPU and on the GPU where installed."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu_cases import Case, Launcher, Sizes, Target
from benchmarks.gpu_encoder_cases import similarity_case
from benchmarks.gpu_timing import captured, median_seconds

ROUNDS = 5


def add_to(add: Callable[..., None], sizes: Sizes, target: Target, launcher: Launcher) -> None:
    """Adds a line for each way of searching."""
    case = similarity_case(sizes, target)

    def ours() -> dict[str, Any]:
        return {"way": "kernel", "ms": 1000 * median_seconds(captured(lambda: case.run(launcher, case.inputs)))}

    add("search", "kernel", ours)
    if importlib.util.find_spec("faiss") is None:
        return
    add("search", "faiss cpu", lambda: {"way": "faiss cpu, one query", "ms": faiss_ms(case, sizes, on_gpu=False)})
    import faiss

    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus():
        add("search", "faiss gpu", lambda: {"way": "faiss gpu, one query", "ms": faiss_ms(case, sizes, on_gpu=True)})


def faiss_ms(case: Case, sizes: Sizes, on_gpu: bool) -> float:
    """The least of a few searches of a flat index, after one that is not counted."""
    import faiss

    stored, asked = (case.inputs[name].float().cpu().numpy() for name in ("matrix", "queries"))
    index: Any = faiss.IndexFlatIP(sizes.features)
    index.add(stored)
    if on_gpu:
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    seconds = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        index.search(asked, sizes.k)
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds[1:])
