"""What the cache wants compared is compared after the answer was given, by whichever judge can tell."""

import asyncio

import numpy as np
import pytest
from fulcrum.cache.v1.cache_service_pb2 import Answer, Audit, LookupResponse

from services.chassis.errors import Unavailable
from services.edge.judges import Comparison, Equality, Similarity
from services.edge.judging import Judging
from services.edge.messages import found
from services.edge.ports import Embedding, Miss
from tests.unit.edge.parts import Bench, control, request


class FixedEncoder:
    """Embeds by a table of angles, in degrees; a text that it does not know is beyond its window."""

    def __init__(self, degrees: dict[str, float]) -> None:
        self._degrees = degrees

    async def embed(self, text: str) -> Embedding:
        angle = np.radians(self._degrees.get(text, 0.0))
        values = np.array([np.cos(angle), np.sin(angle)], "<f4").tobytes()
        return Embedding(values, 2, "ab" * 32, 1, text not in self._degrees)


async def judged(bench: Bench, candidate: str) -> list[tuple[str, str, bool, str]]:
    bench.cache.candidates["What is it?"] = candidate
    await bench.ask(request())
    await bench.pipeline.judging.close()
    return bench.cache.verdicts


async def test_a_candidate_is_compared_and_the_cache_told(bench: Bench) -> None:
    """The verdict names the lookup that asked for it and who judged; the request itself is a plain miss."""
    assert await judged(bench, "An answer.") == [("tenant", "l2", True, "judge:equality")]
    assert len(bench.cache.stores) == 1


async def test_another_answer_is_another(bench: Bench) -> None:
    """A short answer of other words gets the verdict that it differs."""
    assert await judged(bench, "No idea") == [("tenant", "l2", False, "judge:equality")]


async def test_who_wants_only_the_cache_is_asked_for_no_comparison(bench: Bench) -> None:
    """Without an execution there is nothing to compare, so nothing is audited."""
    bench.cache.candidates["What is it?"] = "an answer"
    with pytest.raises(Exception, match="only_if_cached"):
        await bench.ask(request(cache_control=control(only_if_cached=True)))
    assert bench.cache.verdicts == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Paris", "paris.", True),
        ("Paris", "London", False),
        ("It takes 3 days to arrive by post in the country.", "In the country it takes 4 days to come by post.", False),
        ("You can return it within the month of purchase.", "You can not return it within the month of buying.", False),
        ("Open the app and choose the card to top it up.", "To top up, choose your card inside of the app.", None),
        ("You can return it within the month of purchase.", "You can't return it in the month of buying it.", False),
        ("It won’t come with the order you made.", "It will come along with the order made.", False),
        ("You cannot return it once it was opened.", "You can't return it once it was opened.", True),
        ("Take five tablets a day with water.", "Take six tablets a day with water.", False),
        ("Take five tablets a day with water.", "Take 5 tablets a day with water.", True),
        ("Take it once a day with some water.", "Take it twice a day with some water.", False),
        ("There are two ways to pay for the plan.", "There are ways to pay for the plan.", None),
        ("+", "-", False),
        ("-5", "5", False),
        ("It holds for x > 3.", "It holds for x < 3.", False),
        ("a == b", "a != b", False),
        ("Use C++", "use C", False),
        ("Blood type AB+ can.", "Blood type AB- can.", False),
        ("It costs $5.", "It costs €5.", False),
        ("if (!ready) start()", "if (ready) start()", False),
        ("10 - 3", "10 + 3", False),
        ("**Yes**: it's well-known - always!", "Yes, it's well known, always.", None),
        ("- COVID-19\n- Flu.", "* COVID-19\n\n* flu", True),
    ],
)
async def test_equality(one: str, other: str, expected: bool | None) -> None:
    """Words decide where they can: all equal, or short, or with other numbers or negations."""
    assert await Equality().same(Comparison(request(), one, other)) is expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris", " **paris.**\n"),
        ("The answer is **42**.", "The answer is 42"),
        ("**5**", "5"),
        ("No", "no."),
        ("In Paris, I think.", "in  Paris, I think"),
        ("**Note:** be quick", "**Note**: be quick."),
        ("1. Wash\n2. Dry", "1) wash\n2) dry"),
        ("• 5 apples\n• pears", "- 5 apples\n- Pears"),
        ("Don’t take five.", "don't take 5"),
    ],
)
async def test_how_it_is_set_changes_no_answer(one: str, other: str) -> None:
    """Bold, an item's mark, the last full stop, blanks and a sentence's capital are not what an answer says."""
    assert await Equality().same(Comparison(request(), one, other)) is True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("yes ✅", "yes ❌"),
        ("Score: ★★★★★", "Score: ★"),
        ("A → B", "A ← B"),
        ("a ∈ b", "a ∉ b"),
        ("5!", "5"),
        ("mW", "MW"),
        ("Mg", "mg"),
        ("ls -a", "ls -A"),
        ("[1, 2]", "(1, 2)"),
        ('"3"', "3"),
        ("if x:\n    a()\nb()", "if x:\n    a()\n    b()"),
        ("new Node.next", "new node.next"),
        ("Name: Anna", "name: Anna"),
        ("__init__", "init"),
        ("f(a, **b, **c)", "f(a, b, c)"),
        ("git add .", "git add"),
        ("echo `date`", "echo date"),
        ("split('a  b')", "split('a b')"),
        ("# stop()", "stop()"),
        ("- 5", "5"),
    ],
)
async def test_what_may_be_another_answer_is_not_the_same(one: str, other: str) -> None:
    """Case within lines, line structure and any character that is no mere punctuation leave equal words open."""
    encoder = FixedEncoder({one: 0.0, other: 0.0})
    for judge in (Equality(), Similarity(encoder, 0.95, 0.5)):
        assert await judge.same(Comparison(request(), one, other)) is not True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("All is well ✅", "All's fine ❌"),
        ("Use ls -a for that", "You use ls -A for that"),
        ("Power is 5 mW", "The power is 5 MW"),
        ("It is [1, 2]", "That is (1, 2)"),
        ("It is 5! in all", "In all it's 5"),
    ],
)
async def test_a_vector_hides_signs_and_case(one: str, other: str) -> None:
    """However short, answers whose signs or whose words' case differ are not the same by their vectors."""
    judge = Similarity(FixedEncoder({one: 0.0, other: 0.1}), 0.95, 0.5)
    assert await judge.same(Comparison(request(), one, other)) is None


@pytest.mark.parametrize(("degrees", "expected"), [(5.0, True), (30.0, None), (80.0, False)])
async def test_similarity(degrees: float, expected: bool | None) -> None:
    """Near answers are the same, far ones are not, and what lies between is left to the next judge."""
    judge = Similarity(FixedEncoder({"one": 0.0, "other": degrees}), 0.95, 0.5)
    assert await judge.same(Comparison(request(), "one", "other")) is expected


LONG = " If your address has changed in the meantime, open the settings, choose personal details and follow the steps."
LONG += " Our team is glad to help you with any further question about billing, delivery or your account."


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Your card is blocked.", "Your card is unblocked.", None),
        ("Anna owes Boris the rest.", "Boris owes Anna the rest.", None),
        ("It is -5 degrees, the card says.", "It is 5 degrees, card says.", None),
        ("Your card is blocked.", "Please: your card is blocked!", True),
    ],
)
async def test_a_vector_hides_a_word_of_a_long_answer(one: str, other: str, expected: bool | None) -> None:
    """Long answers are not the same by their vectors alone where a word, its place or a sign differs."""
    one, other = one + LONG, other + LONG
    judge = Similarity(FixedEncoder({one: 0.0, other: 0.1}), 0.95, 0.5)
    assert await judge.same(Comparison(request(), one, other)) is expected


async def test_beyond_the_window_there_is_no_verdict() -> None:
    """A beginning says nothing of an end."""
    judge = Similarity(FixedEncoder({"one": 0.0}), 0.95, 0.5)
    assert await judge.same(Comparison(request(), "one", "a long other")) is None


class Waiting:
    """A judge that can tell once it is let go, by the answer that was made."""

    name = "waiting"

    def __init__(self, fails: bool = False) -> None:
        self.go = asyncio.Event()
        self._fails = fails

    async def same(self, comparison: Comparison) -> bool | None:
        if self._fails:
            raise Unavailable("encoder", "127.0.0.1:1", "refused")
        await self.go.wait()
        return comparison.made == "same"


async def test_near_misses_crowd_out_no_audit(bench: Bench) -> None:
    """However many near misses are being compared, an audit is compared too; both are bounded."""
    judge = Waiting()
    judging = Judging(bench.cache, (judge,), 3)
    for number in range(5):
        judging.begin(request(), Miss(f"near {number}", "", "kept"), "same")
    for number in range(5):
        judging.begin(request(), Miss(f"audit {number}", "", "kept", audit=True), "other")
    judge.go.set()
    await judging.close()
    told = {(lookup_id, same) for _, lookup_id, same, _ in bench.cache.verdicts}
    assert told == {(f"near {n}", True) for n in range(3)} | {(f"audit {n}", False) for n in range(3)}


async def test_where_one_judge_fails_the_next_is_asked(bench: Bench) -> None:
    """An encoder that is down keeps no model from telling."""
    able = Waiting()
    able.go.set()
    judging = Judging(bench.cache, (Waiting(fails=True), able), 1)
    judging.begin(request(), Miss("l", "", "kept", audit=True), "same")
    await judging.close()
    assert [verdict[1:] for verdict in bench.cache.verdicts] == [("l", True, "judge:waiting")]


@pytest.mark.parametrize(("propensity", "audit"), [(0.04, True), (1.0, True), (1.0, False)])
def test_an_audit_is_what_would_have_been_served(propensity: float, audit: bool) -> None:
    """Whether chance or the brake has a would-be hit executed, it is one; a near miss is none."""
    told = Audit(answer=Answer(text="kept"), propensity=propensity, would_be_hit=audit)
    message = LookupResponse(lookup_id="l", audit=told)
    missed = found(message)
    assert isinstance(missed, Miss)
    assert (missed.candidate, missed.audit) == ("kept", audit)
