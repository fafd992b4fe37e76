"""What each precision loses: exact match and perplexity of the reference models, logits of a random Qwen2.5-0.5B shape.

Questions have wordings and operands that training never saw. Perplexity is that of the right answer's tokens, its end
included; an answer counts as exact where each of these is also the likeliest token, which is what greedy decoding then
gives. A logit error is the root mean square of the differences from fp32 over the spread of fp32's logits. What this
prints is what `executor.precision_report` reads; deploy/precision.json holds the last result: docs/models.md.
"""

import argparse
import json
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.random_model import QWEN_HALF_BILLION, write_random_model
from models.tasks import Question, sample
from services.executor.chat_text import ChatText
from services.executor.decoder_session import Chunk, DecoderSession
from services.executor.engine import Message
from services.executor.models.checkpoint import open_checkpoint
from services.executor.models.onnx_linear import DECODER_LINEARS

MODELS = ("fulcrum-small", "fulcrum-large")
SLOTS = 32
CONTEXT = 256
PROMPTS, PROMPT_TOKENS = 8, 64


def quality(folder: Path, precision: str, questions: Sequence[Question], threads: int) -> dict[str, float]:
    """Share of exact answers, and perplexity a token."""
    session = DecoderSession(folder, DECODER_LINEARS[precision], threads, CONTEXT, slots=SLOTS)
    text = ChatText(folder)
    exact, losses = 0, list[float]()
    for begin in range(0, len(questions), SLOTS):
        asked = questions[begin : begin + SLOTS]
        prompts = [text.encode([Message("user", question.prompt)]) for question in asked]
        answers = [[*text.tokenizer.encode(one.answer).ids, *sorted(text.end_tokens)[-1:]] for one in asked]
        for found in _surprise(session, prompts, answers):
            losses += [loss for loss, _ in found]
            exact += all(likeliest for _, likeliest in found)
    return {
        "exact_match": round(exact / len(questions), 4),
        "perplexity": round(math.exp(sum(losses) / len(losses)), 4),
    }


def _surprise(
    session: DecoderSession, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[list[tuple[float, bool]]]:
    """For each token of each answer, read as given: its negative log-probability and whether it was the likeliest."""
    found: list[list[tuple[float, bool]]] = [[] for _ in answers]
    for step in range(max(map(len, answers))):
        slots = [slot for slot, answer in enumerate(answers) if step < len(answer)]
        chunks = [
            Chunk(slot, len(prompts[slot]) + step - 1, [answers[slot][step - 1]])
            if step
            else Chunk(slot, 0, prompts[slot])
            for slot in slots
        ]
        for slot, logits in zip(slots, session.run(chunks).astype(np.float64), strict=True):
            token = answers[slot][step]
            loss = math.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[token]
            found[slot].append((loss, int(logits.argmax()) == token))
    return found


def random_logits(folder: Path, precision: str, threads: int) -> NDArray[np.float32]:
    """`[prompts, vocabulary]` behind random prompts."""
    session = DecoderSession(folder, DECODER_LINEARS[precision], threads, CONTEXT)
    rng = np.random.default_rng(1)
    prompts = rng.integers(0, QWEN_HALF_BILLION["vocab_size"], (PROMPTS, PROMPT_TOKENS))
    return np.array([session.logits_after(prompt.tolist(), 0) for prompt in prompts])


def logit_errors(layers: int, seed: int, threads: int) -> dict[str, dict[str, float]]:
    """By precision: the error, and the share of prompts whose likeliest token is fp32's."""
    errors = {}
    with tempfile.TemporaryDirectory() as name:
        folder = write_random_model(Path(name), seed, layers)
        exact = random_logits(folder, "fp32", threads)
        for precision in DECODER_LINEARS:
            found = random_logits(folder, precision, threads)
            error = float(np.sqrt(np.square(found - exact).mean()) / exact.std())
            same = float((found.argmax(axis=1) == exact.argmax(axis=1)).mean())
            errors[precision] = {"logit_error": round(error, 4), "same_likeliest_token": round(same, 4)}
            print(f"random 0.5B shape, {precision}: {errors[precision]}", file=sys.stderr, flush=True)
    return errors


def main() -> None:
    """Prints the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=2000, help="to each model (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=QWEN_HALF_BILLION["num_hidden_layers"], help="fewer for a trial")
    parser.add_argument("--seed", type=int, default=7, help="of questions and weights (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    questions = [sample(rng, phrasings="heldout", operands="heldout") for _ in range(arguments.questions)]
    report: dict[str, Any] = {"settings": vars(arguments), "models": {}}
    for name in MODELS:
        folder, found = Path("models") / name, dict[str, dict[str, float]]()
        report["models"][name] = {"digest": open_checkpoint(folder).digest(), "precisions": found}
        for precision in DECODER_LINEARS:
            found[precision] = quality(folder, precision, questions, arguments.threads)
            print(f"{name}, {precision}: {found[precision]}", file=sys.stderr, flush=True)
    report["random_half_billion"] = logit_errors(arguments.layers, arguments.seed, arguments.threads)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
