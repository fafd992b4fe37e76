"""Prompts as a small application would send them: questions, the same again, the same in other words."""

import random
from dataclasses import dataclass

from models.tasks import Question, paraphrases, sample


@dataclass(frozen=True)
class Prompt:
    """A question and why it is in the traffic: new, repeat or paraphrase."""

    question: Question
    kind: str


def traffic(seed: int, new: int, repeats: int, rephrased: int) -> list[Prompt]:
    """`new` distinct questions; then, in between, `repeats` by the same words and `rephrased` by unseen ones.

    Every question comes before its repeats and paraphrases; paraphrases are wordings held out from training.
    """
    rng = random.Random(seed)
    first: dict[tuple[str, str], Question] = {}
    while len(first) < new:
        question = sample(rng, phrasings="train", operands="heldout")
        first.setdefault((question.task, question.key), question)
    prompts = [Prompt(question, "new") for question in first.values()]
    for kind, count in (("repeat", repeats), ("paraphrase", rephrased)):
        for _ in range(count):
            position = rng.randrange(len(prompts) // 4, len(prompts))
            earlier = [prompt for prompt in prompts[:position] if prompt.kind == "new"]
            question = rng.choice(earlier).question
            if kind == "paraphrase":
                question = rng.choice(paraphrases(question, phrasings="heldout"))
            prompts.insert(position, Prompt(question, kind))
    return prompts
