"""The cases of an encoder's and a cache's operators, pooling and similarity search; and which cases are measured."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu_cases import Case, Inputs, Launcher, Sizes, Target
from benchmarks.gpu_decoder_cases import attention_case, gemv_case, norm_case, rope_case, sample_case
from kernels.add_rms_norm.plugin import ADD_RMS_NORM_FP8
from kernels.mean_pool_l2 import plugin as pool
from kernels.mean_pool_l2.reference import mean_pool_l2
from kernels.similarity_top_k import plugin as similarity
from kernels.similarity_top_k.reference import similarity_top_k

TOKENS = 512  # of a row, where many are read at once
RAGGED = (
    Sizes(heads=6, kv_heads=2, head_dim=20, hidden=384, outputs=37, group=128, vocabulary=1003, page_size=7, pages=9,
          rows=5, positions=4, texts=5, words=19, features=50, vectors=777, queries=3, k=5, ragged=True),
    Sizes(heads=8, kv_heads=8, head_dim=64, hidden=256, outputs=200, group=64, vocabulary=70, page_size=301, pages=1,
          rows=1, positions=1, texts=1, words=1, features=384, vectors=9, queries=17, k=10, ragged=True),
    Sizes(heads=32, kv_heads=8, head_dim=128, hidden=512, outputs=513, group=64, vocabulary=40000, page_size=64,
          pages=21, rows=8, positions=3, texts=3, words=65, features=96, vectors=5000, queries=16, k=3, ragged=True),
)  # fmt: skip


def every_case(sizes: Sizes, target: Target) -> Sequence[Case]:
    """Each operator once at these sizes, with fresh random inputs; the FP8 norm where the architecture has it."""
    cases = [norm_case(sizes, target, quantised=False), rope_case(sizes, target), attention_case(sizes, target)]
    if target.architecture >= ADD_RMS_NORM_FP8.lowest_architecture:
        cases.append(norm_case(sizes, target, quantised=True))
    cases += [gemv_case(sizes, target), sample_case(sizes, target, greedy=True)]
    cases += [sample_case(sizes, target, greedy=False), pool_case(sizes, target), similarity_case(sizes, target)]
    return cases


def timed_cases(sizes: Sizes, target: Target) -> Sequence[tuple[str, Case]]:
    """What is timed, with a word on its shape: a decoder's step for one row and for eight, and many tokens at once."""
    timed = []
    for rows in (1, sizes.rows):
        few, word = replace(sizes, rows=rows), f"{rows} rows"
        timed += [(word, case(few, target)) for case in (rope_case, attention_case, gemv_case)]
        timed += [(word, norm_case(few, target, quantised=False))]
        timed += [(word, sample_case(few, target, greedy)) for greedy in (True, False)]
    many, word = replace(sizes, positions=min(TOKENS, sizes.held)), f"{sizes.rows} x {TOKENS} tokens"
    timed += [(word, norm_case(many, target, quantised=False)), (word, rope_case(many, target))]
    if target.architecture >= ADD_RMS_NORM_FP8.lowest_architecture:
        timed.append((word, norm_case(many, target, quantised=True)))
    timed.append((f"{sizes.texts} texts of {sizes.words} tokens", pool_case(sizes, target)))
    return [*timed, (f"{sizes.vectors} x {sizes.features}", similarity_case(sizes, target))]


def pool_case(sizes: Sizes, target: Target) -> Case:
    """Texts of equally many words, or of which any are not counted, and of one text none at all."""
    x = target.random(sizes.texts, sizes.words, sizes.features)
    mask = target.whole(0, 1, sizes.texts, sizes.words) if sizes.ragged else target.all_of(1, sizes.texts, sizes.words)
    if sizes.ragged:
        mask[-1] = 0
    chosen = target.kernel(pool.MEAN_POOL_L2, pool.constants(sizes.features))

    def plain(given: Inputs) -> Sequence[Any]:
        counted = given["x"].float() * given["mask"][..., None]
        return [torch.nn.functional.normalize(counted.sum(1) / given["mask"].sum(1, keepdim=True), dim=-1)]

    moved, inputs = x.numel() * x.element_size(), {"x": x, "mask": mask}
    reference = lambda given: [mean_pool_l2(**given)]  # noqa: E731 - one of three of a kind
    return Case("mean_pool_l2", inputs, lambda by, given: by(chosen, given), reference, plain, moved, 0.85)


def similarity_case(sizes: Sizes, target: Target) -> Case:
    """The scan with its merges: scores and ids. Ragged sizes take small whole numbers, whose ties are ties."""

    def vectors(count: int) -> Any:
        if sizes.ragged:
            return target.whole(-2, 2, count, sizes.features).half()
        return target.random(count, sizes.features, like=torch.float16)

    inputs = {"queries": vectors(sizes.queries), "matrix": vectors(sizes.vectors)}
    block = target.kernel(similarity.TOP_K_MERGE, {"K": sizes.k}), _scan(sizes, target)

    def run(launcher: Launcher, given: Inputs) -> Sequence[Any]:
        merge, scan = block
        scores, ids = launcher(scan, given)
        while scores.shape[1] > 1:
            flat = {"scores": scores.reshape(sizes.queries, -1), "ids": ids.reshape(sizes.queries, -1)}
            scores, ids = launcher(merge, flat)
        return scores[:, 0], ids[:, 0]

    def plain(given: Inputs) -> Sequence[Any]:
        found = (given["queries"] @ given["matrix"].T).float().topk(sizes.k)
        return found.values, found.indices.int()

    reference = lambda given: similarity_top_k(given["queries"], given["matrix"], sizes.k)  # noqa: E731
    return Case("similarity_top_k", inputs, run, reference, plain, inputs["matrix"].numel() * 2, 0.85)


def _scan(sizes: Sizes, target: Target) -> Any:
    chosen = target.kernel(similarity.SIMILARITY_TOP_K, {})
    fixed = similarity.constants(sizes.features, sizes.k, chosen.constants["BLOCK_FEATURES"])
    return target.kernel(similarity.SIMILARITY_TOP_K, fixed)
