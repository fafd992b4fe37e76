"""The demo's traffic is what its tables say it is."""

from benchmarks.traffic import OTHER_WORDS, traffic
from models.tasks import TASKS


def test_other_words_are_other_words() -> None:
    """Every task has wordings that neither the models nor the held-out tests know, with the same operands."""
    known = {phrasing.lower() for task in TASKS.values() for phrasing in task.phrasings("all")}
    assert OTHER_WORDS.keys() == TASKS.keys()
    assert not [wording for wordings in OTHER_WORDS.values() for wording in wordings if wording.lower() in known]


def test_every_repeat_follows_its_question() -> None:
    """The counts are as asked, and nothing is repeated or rephrased before it was new."""
    prompts = traffic(seed=3, new=20, repeats=10, rephrased=15)
    assert [sum(prompt.kind == kind for prompt in prompts) for kind in ("new", "repeat", "paraphrase")] == [20, 10, 15]
    seen = set()
    for prompt in prompts:
        identity = (prompt.question.task, prompt.question.key)
        assert (identity in seen) == (prompt.kind != "new")
        seen.add(identity)
