"""What the reference models cost on the reference engine, transformers in fp32 on two threads, and on ours beside it.

The catalogue's `reference_seconds_per_million_*_tokens` come from here. One request at a time, the questions of the
demo; the reference is a bare greedy loop over transformers' forward pass with its own KV cache, without what
`generate()` adds. Input seconds are those of the prompt's pass, which gives the first output token as well; output
seconds are those of all further passes, over all output tokens. Engines take turns at each prompt, and of several
rounds each pass's fastest counts. That helps against short disturbances only: on a machine that is busy throughout the
reference suffers most, so run it on an idle one (`load_average` in the result tells) or the savings come out too large.
Needs the packages of `make test-oracles`.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import AutoModelForCausalLM

from models.tasks import sample
from services.executor.chat_text import ChatText
from services.executor.decoder_session import DecoderSession
from services.executor.engine import Message
from services.executor.models.onnx_linear import DECODER_LINEARS

MODELS = ("fulcrum-small", "fulcrum-large")
LONGEST_ANSWER = 24


class Runner(Protocol):
    """An engine, reduced to its two kinds of pass; each returns the likeliest next token."""

    def prompt(self, tokens: Sequence[int]) -> int: ...

    def step(self, token: int) -> int: ...


class Transformers:
    """The reference engine."""

    def __init__(self, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._memory: Any = None

    def prompt(self, tokens: Sequence[int]) -> int:
        self._memory = None
        return self._forward(tokens)

    def step(self, token: int) -> int:
        return self._forward([token])

    def _forward(self, tokens: Sequence[int]) -> int:
        with torch.inference_mode():
            given = torch.tensor([tokens])
            found = self._model(given, past_key_values=self._memory, use_cache=True, logits_to_keep=1)
        self._memory = found.past_key_values
        return int(found.logits[0, -1].argmax())


class Ours:
    """The executor's decoder in one precision."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        self._session = DecoderSession(folder, DECODER_LINEARS[precision], threads)
        self._position = 0

    def prompt(self, tokens: Sequence[int]) -> int:
        self._position = len(tokens)
        return int(self._session.logits_after(tokens, 0).argmax())

    def step(self, token: int) -> int:
        self._position += 1
        return int(self._session.logits_after([token], self._position - 1).argmax())


def pass_seconds(runner: Runner, prompt: Sequence[int], end_tokens: frozenset[int]) -> list[float]:
    """Answers one prompt greedily; the seconds of its pass and of those behind, one pass an output token."""
    seconds: list[float] = []
    token = -1
    while token not in end_tokens and len(seconds) < LONGEST_ANSWER:
        begin = time.perf_counter()
        token = runner.step(token) if seconds else runner.prompt(prompt)
        seconds.append(time.perf_counter() - begin)
    return seconds


def measure(
    runners: Mapping[str, Runner], prompts: Sequence[Sequence[int]], end_tokens: frozenset[int], rounds: int
) -> dict[str, dict[str, float]]:
    """Seconds for a million tokens, by engine."""
    input_s, output_s = dict.fromkeys(runners, 0.0), dict.fromkeys(runners, 0.0)
    outputs = dict.fromkeys(runners, 0)
    for prompt in prompts:
        found = [{name: pass_seconds(one, prompt, end_tokens) for name, one in runners.items()} for _ in range(rounds)]
        for name in runners:
            first, *further = (min(times) for times in zip(*(turn[name] for turn in found), strict=True))
            input_s[name] += first
            output_s[name] += sum(further)
            outputs[name] += 1 + len(further)
    inputs = sum(map(len, prompts))
    return {
        name: {
            "seconds_per_million_input_tokens": input_s[name] / inputs * 1e6,
            "seconds_per_million_output_tokens": output_s[name] / outputs[name] * 1e6,
        }
        for name in runners
    }


def compared(costs: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The costs, and for each engine how many times less than the reference it takes."""
    reference = costs["reference"]
    ratios = {
        name: {f"{key}_ratio": round(reference[key] / cost[key], 2) for key in cost} for name, cost in costs.items()
    }
    return {name: {key: round(value, 1) for key, value in cost.items()} | ratios[name] for name, cost in costs.items()}


def main() -> None:
    """Prints JSON: a model's costs by engine, and how many times less than the reference ours takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=40, help="questions of the demo (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=8, help="of which each pass's fastest counts (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of every engine (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the questions (default: %(default)s)")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    questions = [sample(rng, phrasings="all", operands="all").prompt for _ in range(arguments.prompts)]
    report: dict[str, Any] = {**vars(arguments), "load_average": os.getloadavg()[0], "models": {}}
    for name in MODELS:
        folder = Path("models") / name
        text = ChatText(folder)
        prompts = [text.encode([Message("user", question)]) for question in questions]
        runners: dict[str, Runner] = {
            "reference": Transformers(folder, arguments.threads),
            "fp32": Ours(folder, "fp32", arguments.threads),
            "int8": Ours(folder, "int8", arguments.threads),
        }
        costs = measure(runners, prompts, text.end_tokens, arguments.rounds)
        report["models"][name] = compared(costs)
    json.dump(report, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
