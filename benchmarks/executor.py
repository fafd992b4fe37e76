"""How fast the executor runs a Qwen2.5-0.5B shape with random weights, beside transformers in bf16 and fp32.

All engines have the same threads and take turns, and of several rounds each one's fastest counts. Decoding at batch 1
is in int8, at batch 8 and prefill in w8a8; decoding goes on behind a prompt of 128 tokens; 512 tokens are read by ours
as the engine reads them, 256 in a pass, by the peer at once. Then, in int8 and at batch 1: what a token costs in the
whole engine over the bare `session.run` of its graph, the bytes of weights a second as a share of what the machine's
threads read from memory in the same run, and the first token behind a shared prefix of 1,000 tokens, known over
unknown, with equal texts. llama.cpp stands beside them in Q8_0 where it is installed (`pip install llama-cpp-python
gguf`, which compiles it). Needs the packages of `make test-oracles`, 8 GB of memory and an idle machine: the load is in
the result.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.engine_overhead import engine_figures
from benchmarks.random_model import QWEN_HALF_BILLION, write_random_model
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.models.onnx_linear import DECODER_LINEARS
from services.executor.pass_plan import READ_TOKENS_ALONE

CONTEXT, PROMPT, PREFILL, STEPS, BATCH = 1280, 128, 512, 8, 8
STREAM_BYTES = 1 << 28
TOKENS = {"decode_batch1": STEPS, "decode_batch8": STEPS * BATCH, "prefill": PREFILL}
OURS = {"decode_batch1": "int8", "decode_batch8": "w8a8", "prefill": "w8a8"}
Work = Callable[[], object]


def transformers_work(folder: Path, dtype: torch.dtype) -> dict[str, Work]:
    """The three jobs on the peer; decoding goes on where the last call ended."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    caches: dict[int, Any] = {}

    def forward(ids: Any, cache: Any) -> Any:
        with torch.inference_mode():
            found = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return found.past_key_values, found.logits[:, -1:].argmax(-1)

    def decode(batch: int) -> None:
        if batch not in caches:
            caches[batch] = forward(torch.arange(batch * PROMPT).reshape(batch, PROMPT), None)
        for _ in range(STEPS):
            caches[batch] = forward(caches[batch][1], caches[batch][0])

    return {
        "decode_batch1": lambda: decode(1),
        "decode_batch8": lambda: decode(BATCH),
        "prefill": lambda: forward(torch.arange(PREFILL)[None], None),
    }


def our_work(folder: Path, precision: str, threads: int) -> dict[str, Work]:
    """The three jobs on ours."""
    session = DecoderSession(folder, DECODER_LINEARS[precision], threads, CONTEXT, slots=BATCH)
    positions = dict.fromkeys((1, BATCH), PROMPT)

    def decode(batch: int) -> None:
        tokens = np.arange(batch)
        for _ in range(STEPS):
            logits = session.run([Chunk(slot, positions[batch], [int(token)]) for slot, token in enumerate(tokens)])
            tokens, positions[batch] = logits.argmax(axis=1), positions[batch] + 1

    def prefill() -> None:
        for start in range(0, PREFILL, READ_TOKENS_ALONE):
            end = start + READ_TOKENS_ALONE
            session.run([Chunk(0, start, range(start, end), wants_logits=end == PREFILL)])

    for slot in range(BATCH):
        session.run([Chunk(slot, 0, range(PROMPT), wants_logits=False)])
    return {"decode_batch1": lambda: decode(1), "decode_batch8": lambda: decode(BATCH), "prefill": prefill}


def llama_cpp_work(folder: Path, threads: int) -> dict[str, Work]:
    """The three jobs on llama.cpp; decoding goes on where the last call ended, with one sequence on its own."""
    from benchmarks.llama_cpp_peer import LlamaCpp

    several, reader = LlamaCpp(folder, threads, CONTEXT, BATCH + 1), LlamaCpp(folder, threads, CONTEXT, 1)
    sequences = {1: [BATCH], BATCH: list(range(BATCH))}
    positions = dict.fromkeys(sequences, PROMPT)

    def decode(batch: int) -> None:
        tokens = list(range(batch))
        for _ in range(STEPS):
            tokens = several.run(sequences[batch], [positions[batch]] * batch, tokens)
            positions[batch] += 1

    def prefill() -> None:
        reader.forget()
        reader.run([0] * PREFILL, range(PREFILL), range(PREFILL))

    for sequence in range(BATCH + 1):
        several.run([sequence] * PROMPT, range(PROMPT), range(PROMPT))
    return {"decode_batch1": lambda: decode(1), "decode_batch8": lambda: decode(BATCH), "prefill": prefill}


def fastest(engines: Mapping[str, Mapping[str, Work]], rounds: int) -> dict[str, dict[str, float]]:
    """Tokens a second by job and engine; the first round warms up and does not count."""
    best: dict[str, dict[str, float]] = {job: {} for job in TOKENS}
    for number in range(rounds + 1):
        for job, tokens in TOKENS.items():
            for name, work in engines.items():
                begin = time.perf_counter()
                work[job]()
                speed = tokens / (time.perf_counter() - begin)
                if number:
                    best[job][name] = max(speed, best[job].get(name, 0.0))
        shown = {job: {name: round(speed) for name, speed in best[job].items()} for job in best}
        tell(f"round {number} of {rounds}: tokens/s {shown if number else 'warm'}")
    return best


def stream_bandwidth(threads: int, rounds: int) -> float:
    """Bytes a second that `threads` threads read from memory together, each its own quarter of a gigabyte."""
    parts = [np.ones(STREAM_BYTES // 8) for _ in range(threads)]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            begin = time.perf_counter()
            list(pool.map(np.max, parts))
            best = max(best, threads * STREAM_BYTES / (time.perf_counter() - begin))
    return best


def tell(line: str) -> None:
    """Progress, beside the result."""
    print(line, file=sys.stderr, flush=True)


def measure(folder: Path, threads: int, rounds: int) -> dict[str, Any]:
    """The whole report."""
    torch.set_num_threads(threads)
    tell("loading: ours in int8 and w8a8, transformers in bf16 and fp32")
    engines = {name: our_work(folder, name, threads) for name in ("int8", "w8a8")}
    engines["transformers bf16"] = transformers_work(folder, torch.bfloat16)
    engines["transformers fp32"] = transformers_work(folder, torch.float32)
    if find_spec("llama_cpp") and find_spec("gguf"):
        engines["llama.cpp q8_0"] = llama_cpp_work(folder, threads)
    else:
        tell("llama.cpp: not installed, left out")
    speeds = fastest(engines, rounds)
    engines.clear()
    gc.collect()
    tell("the whole engine, and prefixes")
    bandwidth = stream_bandwidth(threads, rounds)
    figures = asyncio.run(engine_figures(folder, threads, rounds, CONTEXT, tell))
    bandwidth = max(bandwidth, stream_bandwidth(threads, rounds))
    ratios = {
        peer: {job: round(speeds[job][OURS[job]] / speeds[job][f"transformers {peer}"], 2) for job in TOKENS}
        for peer in ("bf16", "fp32")
    }
    achieved = figures.weight_bytes * speeds["decode_batch1"]["int8"]
    return {
        "ratio": ratios["bf16"],
        "engine_overhead": round(figures.overhead, 4),
        "bandwidth_share": round(achieved / bandwidth, 3),
        "tokens_per_s": {job: {name: round(speed, 1) for name, speed in speeds[job].items()} for job in TOKENS},
        "ratio_fp32": ratios["fp32"],
        "first_token_ratio": round(figures.first_token_ratio, 4),
        "stream_gb_per_s": round(bandwidth / 1e9, 1),
    }


def main() -> None:
    """Makes the model in a temporary folder, measures, and prints one line of JSON last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of every engine (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the fastest counts (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=QWEN_HALF_BILLION["num_hidden_layers"], help="fewer for a trial")
    parser.add_argument("--seed", type=int, default=0, help="of the weights (default: %(default)s)")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        tell(f"writing random weights to {folder}")
        write_random_model(Path(folder), arguments.seed, arguments.layers)
        report = measure(Path(folder), arguments.threads, arguments.rounds)
    print(json.dumps(report | vars(arguments) | {"load_average": round(load, 2)}))


if __name__ == "__main__":
    main()
