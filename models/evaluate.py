"""Asks both models a fixed set of questions and writes their scores, which the router fits its gain predictor on."""

from __future__ import annotations

import argparse
import gzip
import json
import random
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.card import write_card
from models.tasks import TASKS, Part, Question, sample

MODELS = ("fulcrum-small", "fulcrum-large")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Asked:
    """A question with the part of the data it belongs to."""

    question: Question
    split: str
    phrasing: Part


def questions(seed: int, rows: int) -> list[Asked]:
    """`rows` different prompts, a quarter of them for test with keys of their own; operands as training never saw
    them where the task generalises, wordings half seen and half unseen."""
    rng, asked = random.Random(seed), dict[str, Asked]()
    wanted = {(task, split): rows * share // (4 * len(TASKS)) for task in TASKS for split, share in SHARES.items()}
    for (task, split), count in wanted.items():
        before = len(asked)
        for _ in range(200 * count):
            phrasing: Part = rng.choice(("train", "heldout"))
            question = sample(rng, phrasings=phrasing, operands="heldout", task=task)
            if split_of(question) == split:
                asked.setdefault(question.prompt, Asked(question, split, phrasing))
            if len(asked) - before == count:
                break
    return list(asked.values())


SHARES = {"fit": 3, "test": 1}


def split_of(question: Question) -> str:
    """A quarter of every task's keys are for test, whatever the wording."""
    return "test" if zlib.crc32(f"split {question.task} {question.key}".encode()) % 4 == 0 else "fit"


def answers(folder: Path, prompts: Sequence[str]) -> list[str]:
    """Greedy answers through the chat template, batched by prompt length so that nothing is padded."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    by_length = defaultdict[int, list[tuple[int, list[int]]]](list)
    for index, prompt in enumerate(prompts):
        message = {"role": "user", "content": prompt}
        ids = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False)
        by_length[len(ids)].append((index, ids))
    replies = [""] * len(prompts)
    for length, group in by_length.items():
        ids = torch.tensor([ids for _, ids in group])
        output = model.generate(ids, attention_mask=torch.ones_like(ids))
        texts = tokenizer.batch_decode(output[:, length:], skip_special_tokens=True)
        for (index, _), text in zip(group, texts, strict=True):
            replies[index] = text
    return replies


def scores(folder: Path, asked: Sequence[Asked]) -> list[int]:
    """1 where the whole answer is right, else 0."""
    replies = answers(folder, [row.question.prompt for row in asked])
    return [int(reply == row.question.answer) for reply, row in zip(replies, asked, strict=True)]


def accuracy(asked: Iterable[Asked], results: Iterable[int]) -> dict[str, dict[str, float]]:
    """Mean score by task (and over all rows, `all`), by phrasing part."""
    seen = defaultdict[tuple[str, str], list[int]](list)
    for row, score in zip(asked, results, strict=True):
        for task in (row.question.task, "all"):
            seen[task, row.phrasing].append(score)
    return {
        task: {part: sum(seen[task, part]) / len(seen[task, part]) for part in ("train", "heldout")}
        for task in (*TASKS, "all")
    }


def show(tables: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Per-task accuracy of every model, seen wordings then unseen ones."""
    print(f"{'task':12}" + "".join(f"{name:>24}" for name in tables))
    for task in (*TASKS, "all"):
        cells = (tables[name][task] for name in tables)
        print(f"{task:12}" + "".join(f"{cell['train']:>15.1%} {cell['heldout']:>8.1%}" for cell in cells))


def write(path: Path, asked: Sequence[Asked], results: Mapping[str, Sequence[int]]) -> None:
    """One JSON object a line; the archive's bytes depend on nothing but the rows."""
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as archive:
        for index, row in enumerate(asked):
            line = {
                "prompt": row.question.prompt,
                "domain": row.question.task,
                "key": row.question.key,
                "scores": {name: results[name][index] for name in results},
                "split": row.split,
                "phrasing": row.phrasing,
            }
            archive.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


def main() -> None:
    """Score both models, write the outcomes and the two model cards."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=4000)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    asked = questions(seed=11, rows=options.rows)
    results = {name: scores(HERE / name, asked) for name in MODELS}
    tables = {name: accuracy(asked, results[name]) for name in MODELS}
    write(HERE / "outcomes.jsonl.gz", asked, results)
    for name in MODELS:
        write_card(HERE / name, tables[name])
    show(tables)
    print(f"{len(asked)} questions")


if __name__ == "__main__":
    main()
