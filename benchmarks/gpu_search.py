"""Milliseconds of a similarity search: our kernels with all merges, the cache's index by them, FAISS on CPU and GPU."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu_cases import Case, Launcher, Sizes, Target
from benchmarks.gpu_encoder_cases import similarity_case
from benchmarks.gpu_timing import captured, median_seconds

ROUNDS = 5
ON_GPU, CLUSTERS = "the cache's index on the GPU", "the cache's clusters on the CPU"
DEVICE_BYTES = 4 * 1024**3
CACHE_WAYS = ((ON_GPU, 10**6), (ON_GPU, None), (CLUSTERS, None))  # all vectors, and so many that a scope is large


def add_to(add: Callable[..., None], sizes: Sizes, target: Target, launcher: Launcher) -> None:
    """Adds a line for each way of searching."""
    case = similarity_case(sizes, target)

    def ours() -> dict[str, Any]:
        return {"way": "kernel", "ms": 1000 * median_seconds(captured(lambda: case.run(launcher, case.inputs)))}

    add("search", "kernel", ours)
    if importlib.util.find_spec("faiss") is None:
        return
    from services.cache.nearest import LARGE

    for way, count in CACHE_WAYS:
        vectors = min(sizes.vectors, count or LARGE)

        def of_the_cache(way: str = way, vectors: int = vectors) -> dict[str, Any]:
            return {"way": f"{way}, {vectors} vectors, one query", "ms": cache_ms(case, vectors, way == ON_GPU)}

        add("search", way, of_the_cache)
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
    return _least_ms(lambda: index.search(asked, sizes.k))


def cache_ms(case: Case, vectors: int, on_gpu: bool) -> float:
    """The same of a lookup's search in the cache, there and back."""
    from services.cache.device_nearest import MOST, DeviceNearest
    from services.cache.faiss_nearest import ClusteredNearest
    from services.cache.nearest import Vectors
    from services.cache.search_device import SearchDevice

    matrix = case.inputs["matrix"][:vectors].float()
    matrix = (matrix / matrix.norm(dim=1, keepdim=True)).cpu().numpy()
    stored, device = Vectors(np.arange(vectors), matrix), SearchDevice(DEVICE_BYTES)
    index = DeviceNearest(device, stored) if on_gpu else ClusteredNearest.of(stored)
    found = _least_ms(lambda: index.search(matrix[0], MOST))
    device.close()
    return found


def _least_ms(search: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(1 + ROUNDS):
        began = time.perf_counter()
        search()
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds[1:])
