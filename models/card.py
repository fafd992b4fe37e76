"""Writes a reference model's card from its configuration, its measured training cost and its measured accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from models.tasks import TASKS

CARD = """---
license: apache-2.0
language: en
library_name: transformers
---
# {name}

A {parameters:,}-parameter Llama-shaped byte model that answers ten kinds of short question. Fulcrum's demo and tests
run it as a real, very small model; `fulcrum-small` is the cheap one and `fulcrum-large` the strong one.

{layers} layers of width {hidden}, {heads} query and {kv_heads} key-value heads of {head_dim}, context {context}.
A token is a byte (ids 0-255); the ids from 256 are `<|pad|> <|system|> <|user|> <|assistant|> <|end|>`.
Decoding is greedy.

## Data
Sampled by `models/tasks.py`, nothing else: no text was collected and no person's data is in it. Loss on the answers
only. Four wordings of each task, and a fifth of the operands of the tasks that generalise ({generalising}), were kept
out of training. Further training wordings were added after an earlier model's errors on the unseen ones had been read,
so accuracy on unseen wordings is somewhat optimistic.

## Training
`python -m models.train {name}`: {steps:,} steps, {tokens:,} tokens, **{cpu_minutes:.1f} CPU-minutes** of a
shared two-core machine ({wall_minutes:.1f} minutes of wall time with `--threads 1`), seed fixed.
Muon for the matrices, AdamW for the rest.

## Exact match
`python -m models.evaluate`; operands are held out where the task generalises, prompts come with the typing habits of
`tasks.sample` (lower case, no punctuation, a greeting). About 180 prompts a cell:
differences below 10 points are noise.

| task | wordings seen in training | unseen wordings |
|---|---:|---:|
{rows}

## Limits
It knows the ten tasks and nothing else. To any other prompt it gives a short, confident and meaningless answer, and it
cannot say that it does not know. It has seen a few one-line system prompts and at most two turns, no long
prompt and no language but English. Some countries' continents and some unusual wordings fail often.
Not for use as a source of facts.

Licence: Apache-2.0.
"""


def write_card(folder: Path, accuracy: Mapping[str, Mapping[str, float]]) -> None:
    """Write `README.md` into a checkpoint folder; `accuracy` is task to phrasing part (train, heldout) to share."""
    config = json.loads((folder / "config.json").read_text())
    cost = json.loads((folder / "training_cost.json").read_text())
    rows = (f"| {task} | {share['train']:.1%} | {share['heldout']:.1%} |" for task, share in accuracy.items())
    card = CARD.format(
        name=folder.name,
        generalising=", ".join(task.name for task in TASKS.values() if task.generalises),
        parameters=cost["parameters"],
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        context=config["max_position_embeddings"],
        steps=cost["steps"],
        tokens=cost["tokens"],
        cpu_minutes=cost["cpu_seconds"] / 60,
        wall_minutes=cost["wall_seconds"] / 60,
        rows="\n".join(rows),
    )
    (folder / "README.md").write_text(card)
