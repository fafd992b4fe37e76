"""Training data: freshly sampled conversations, grouped by length so that almost no padding is computed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from models import chat, tasks

IGNORED = -100

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You answer with one word or number.",
    "You are Fulcrum, a concise assistant. Give only the answer.",
)


class Sampler:
    """Draws conversations; `weights` says how often each task is asked, relative to one another."""

    def __init__(self, seed: int, weights: Mapping[str, float]) -> None:
        self.rng = random.Random(seed)
        self.names = list(tasks.TASKS)
        self.weights = [weights.get(name, 1.0) for name in self.names]

    def question(self) -> tasks.Question:
        """One question with training phrasing and training operands."""
        (name,) = self.rng.choices(self.names, self.weights)
        return tasks.sample(self.rng, phrasings="train", operands="train", task=name)

    def conversation(self) -> tuple[list[int], list[bool]]:
        """Token ids and which of them are an answer's; now and then with a system prompt or an earlier turn."""
        ids: list[int] = []
        if self.rng.random() < 0.08:
            ids += chat.turn("system", self.rng.choice(SYSTEM_PROMPTS))
        answers = [False] * len(ids)
        for _ in range(2 if self.rng.random() < 0.08 else 1):
            question = self.question()
            asked, answered = chat.turn("user", question.prompt), chat.turn("assistant", question.answer)
            ids += asked + answered
            answers += [False] * (len(asked) + 1) + [True] * (len(answered) - 1)
        return ids, answers

    def batches(self, tokens: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless `(ids, targets)` of about `tokens` tokens; a target is IGNORED outside the answers."""
        while True:
            pool = sorted((self.conversation() for _ in range(4096)), key=lambda pair: len(pair[0]))
            groups: list[list[tuple[list[int], list[bool]]]] = [[]]
            for conversation in pool:
                if (len(groups[-1]) + 1) * len(conversation[0]) > tokens:
                    groups.append([])
                groups[-1].append(conversation)
            self.rng.shuffle(groups)
            yield from map(padded, groups)


def padded(conversations: list[tuple[list[int], list[bool]]]) -> tuple[Tensor, Tensor]:
    """Inputs and next-token targets `[batch, length]`."""
    length = max(len(ids) for ids, _ in conversations)
    ids = torch.full((len(conversations), length), chat.PAD)
    targets = torch.full((len(conversations), length), IGNORED)
    for row, (tokens, answers) in enumerate(conversations):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        targets[row, : len(tokens)] = torch.where(torch.tensor(answers), torch.tensor(tokens), IGNORED)
    return ids[:, :-1].contiguous(), targets[:, 1:].contiguous()
