"""Prompts as a small application would send them: questions, the same again, the same in other words."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from models.tasks import TASKS, Question, sample

# Written for the traffic alone, after the models were trained and the cache's rule was set: neither has seen them.
OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "metric": (
        "How many {b} does {n} {a} come to?",
        "I have {n} {a}; how many {b} is that?",
        "Express {n} {a} in {b}, please.",
    ),
    "duration": (
        "How many {b} does {n} {a} come to?",
        "I have {n} {a}; how many {b} is that?",
        "Express {n} {a} in {b}, please.",
    ),
    "next_date": ("What's the date one day after {d} {m}?", "Today is {d} {m}; what is tomorrow's date?"),
    "roman": ("Please write the number {n} in Roman numerals.", "What would {n} look like as a Roman numeral?"),
    "opposite": ("What word means the opposite of '{w}'?", "Give me the opposite of {w}, please."),
    "times": ("I multiply {x} by {y}; what comes out?", "Please work out {x} times {y}."),
    "past_tense": ("How do I write '{w}' in the past tense?", "Please give me the past tense of the verb '{w}'."),
    "continent": ("On what continent would I find {c}?", "What continent would {c} be on?"),
    "capital": ("What city is the capital of {c}?", "I'd like to know the capital of {c}."),
    "element": ("What symbol does {e} have in the periodic table?", "What is {e}'s chemical symbol, please?"),
}


@dataclass(frozen=True)
class Prompt:
    """A question and why it is in the traffic: new, repeat or paraphrase."""

    question: Question
    kind: str


def traffic(seed: int, new: int, repeats: int, rephrased: int) -> list[Prompt]:
    """`new` distinct questions; then, in between, `repeats` by the same words and `rephrased` by unseen ones.

    Every question comes before its repeats and paraphrases; paraphrases are `OTHER_WORDS`.
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
                question = in_other_words(rng, question)
            prompts.insert(position, Prompt(question, kind))
    return prompts


def in_other_words(rng: random.Random, question: Question) -> Question:
    """The same question in a wording that only the traffic knows."""
    wording = rng.choice(OTHER_WORDS[question.task])
    prompt = wording.format(**TASKS[question.task].instances()[question.key].fields)
    return Question(prompt[0].upper() + prompt[1:], question.answer, question.task, question.key)
