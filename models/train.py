"""Trains one reference model from scratch: `python -m models.train fulcrum-small|fulcrum-large`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import functional as F

from models import checkpoint
from models.batches import IGNORED, Sampler
from models.muon import Muon
from models.network import Network, Shape

HARD_TASKS_MORE_OFTEN = {
    "metric": 1.3,
    "next_date": 1.3,
    "opposite": 1.3,
    "past_tense": 1.2,
    "capital": 1.3,
    "continent": 0.5,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights; `tokens` counts padding, prompts and answers alike."""

    shape: Shape
    tokens: int
    batch_tokens: int
    matrix_rate: float
    other_rate: float
    seed: int = 1
    task_weights: Mapping[str, float] = field(default_factory=lambda: HARD_TASKS_MORE_OFTEN)


RECIPES = {
    "fulcrum-small": Recipe(
        Shape(hidden=96, layers=3, heads=6, kv_heads=2, head_dim=16, intermediate=256),
        tokens=2_000_000,
        batch_tokens=2048,
        matrix_rate=0.02,
        other_rate=0.004,
    ),
    "fulcrum-large": Recipe(
        Shape(hidden=256, layers=4, heads=8, kv_heads=2, head_dim=32, intermediate=704),
        tokens=3_000_000,
        batch_tokens=3072,
        matrix_rate=0.02,
        other_rate=0.004,
    ),
}


def rate_at(progress: float) -> float:
    """Warm-up over 3 %, a plateau, then a linear decay to zero over the last 45 % (progress and rate 0 to 1)."""
    return min(progress / 0.03, 1.0, (1.0 - progress) / 0.45)


def report(step: int, loss: float, rate: float, tokens: int, goal: int, seconds: float) -> None:
    """One progress line."""
    speed = tokens / seconds
    left = (goal - tokens) / speed / 60
    print(f"step {step:5d}  loss {loss:6.4f}  lr x{rate:.3f}  {speed:6.0f} tokens/s  {left:5.1f} min left", flush=True)


def train(recipe: Recipe) -> tuple[Network, checkpoint.Cost]:
    """Run the recipe from its seed; the loss is cross-entropy on the answers' bytes and their end token."""
    torch.manual_seed(recipe.seed)
    network = Network(recipe.shape)
    optimiser = Muon(network, recipe.matrix_rate, recipe.other_rate)
    wall, cpu = time.perf_counter(), time.process_time()
    tokens, average = 0, 0.0
    for step, (ids, targets) in enumerate(Sampler(recipe.seed, recipe.task_weights).batches(recipe.batch_tokens)):
        rate = rate_at((tokens + ids.numel() / 2) / recipe.tokens)
        if rate <= 0:
            break
        wanted = targets != IGNORED
        loss = F.cross_entropy(network(ids, wanted), targets[wanted])
        loss.backward()
        optimiser.step(rate)
        tokens += ids.numel()
        average = loss.item() if step == 0 else 0.95 * average + 0.05 * loss.item()
        if step % 20 == 0:
            report(step, average, rate, tokens, recipe.tokens, time.perf_counter() - wall)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return network, checkpoint.Cost(step, tokens, cpu, wall, parameters)


def main() -> None:
    """Train the named model and write its folder beside this file."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("name", choices=RECIPES)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--tokens", type=int, help="train for fewer tokens, to try the pipeline")
    arguments.add_argument("--folder", type=Path, default=Path(__file__).parent)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    recipe = RECIPES[options.name]
    if options.tokens:
        recipe = Recipe(**{**vars(recipe), "tokens": options.tokens})
    network, cost = train(recipe)
    checkpoint.write(options.folder / options.name, network, cost)
    print(f"{cost.parameters:,} parameters, {cost.tokens:,} tokens, {cost.cpu_seconds / 60:.1f} CPU-minutes")


if __name__ == "__main__":
    main()
