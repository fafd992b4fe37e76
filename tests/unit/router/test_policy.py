"""The policy: hard limits with errors that say what would do, the choice under the bound, and the plan's order."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.chassis.errors import FailedPrecondition, FulcrumError, InvalidField, NotFound
from services.router.catalogue import Catalogue, Model
from services.router.eligibility import Eligibility
from services.router.plan import Plan, Reason
from services.router.policy import Policy
from services.router.predictor import Predictor, Vector
from services.router.prices import ListPrice, MachinePrice
from services.router.query import Goal
from services.router.speed import Speed
from tests.unit.router.parts import DIGEST, artefact, catalogue, familiar, model, policy, query

PREDICTOR = Predictor(artefact())


def names(plan: Plan) -> list[str]:
    return [one.model for one in plan.models]


def test_sends_to_the_cheapest_within_the_bound() -> None:
    """The looser the bound the cheaper the model; the explanation carries the numbers."""
    chosen = {}
    for loss in (0.0, 0.004, 0.02, 0.5):
        plan = policy(predictor=PREDICTOR).plan(query(loss=loss, vector=familiar()))
        chosen[loss] = plan.models[0].model
        assert "predicted" in plan.explanation
        assert "1000 calibrated prompts" in plan.explanation
    assert chosen == {0.0: "large", 0.004: "middle", 0.02: "small", 0.5: "small"}


def test_explains_the_choice() -> None:
    """The sentence names the model, its predicted loss, the bound and what both models are expected to cost."""
    plan = policy(predictor=PREDICTOR).plan(query("x" * 900, loss=0.5, vector=familiar(), confidence=0.9))
    assert plan.reason is Reason.CHEAPEST_WITHIN_LOSS
    for part in ("small: cheapest", "predicted loss 8 %", "a bound of 50 % at 90 % confidence", "nano-dollars, large"):
        assert part in plan.explanation


def test_plan_order() -> None:
    """First the choice, then the default, then the rest by predicted quality; every figure is there."""
    plan = policy(model("other", 3), predictor=PREDICTOR).plan(query(loss=0.5, vector=familiar()))
    assert names(plan) == ["small", "large", "middle", "other"]
    small, large, _, other = plan.models
    assert small.quality == pytest.approx(0.6)
    assert small.loss == pytest.approx(0.08)
    assert large.loss == 0.0
    assert (other.quality, other.loss) == (None, None)
    assert other.cost_nano_usd == (8 + 100) * 3_000


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        (Reason.NO_EMBEDDING, {}),
        (Reason.NO_CHEAPER_FITS, {"vector": familiar(), "loss": 0.0}),
        (Reason.UNFAMILIAR_PROMPT, {"vector": Vector(np.eye(4, dtype=np.float32)[1], DIGEST), "loss": 0.5}),
        (Reason.UNFAMILIAR_PROMPT, {"vector": familiar(), "loss": 0.5, "text": "x" * 5001, "input_tokens": 9}),
        (Reason.ONLY_CANDIDATE, {"candidates": ("large",)}),
    ],
)
def test_the_default_answers_otherwise(reason: Reason, fields: dict[str, Any]) -> None:
    """Where nothing cheaper may be chosen the default model answers, and the reason says why."""
    plan = policy(predictor=PREDICTOR).plan(query(**fields))
    assert (plan.models[0].model, plan.reason) == ("large", reason)
    assert plan.explanation.startswith("large: ")


def test_who_may_stand_in_for_a_model_that_fails() -> None:
    """The strongest, and weaker ones whose loss keeps the bound by what was calibrated, whatever was predicted."""

    def able(**fields: Any) -> set[str]:
        return {one.model for one in policy(predictor=predictor).plan(query(**fields)).models if one.may_stand_in}

    made = artefact(losses=(0.08, 0.03, 0.001))
    made.calibration_losses[:] *= 0.2  # predictions are five times too low: a loss of 0.03 harms in 0.15
    predictor = Predictor(made)
    assert able(vector=familiar(), loss=0.04) == {"large"}
    assert able(vector=familiar(), loss=0.1) == {"large", "middle"}
    assert able(vector=familiar(), loss=1.0) == {"large", "middle", "small"}
    assert able(vector=familiar(), loss=1.0, denied_models=("large",)) == {"middle", "small"}
    strange = Vector(np.eye(4, dtype=np.float32)[1], DIGEST)
    for fields in ({"vector": strange}, {}, {"vector": familiar(), "text": "and that?", "earlier_turns": 2}):
        assert able(loss=0.5, **fields) == {"large"}


def test_no_predictor() -> None:
    """Without a predictor, or one for the cheaper models, the default answers."""
    assert policy().plan(query(vector=familiar(), loss=1.0)).reason is Reason.NO_PREDICTOR
    fields: dict[str, Any] = {"vector": familiar(), "loss": 0.5, "candidates": ("other", "large")}
    plan = policy(model("other", 1), predictor=PREDICTOR).plan(query(**fields))
    assert (plan.models[0].model, plan.reason) == ("large", Reason.NO_PREDICTOR)


def test_without_the_default_the_rest_compete() -> None:
    """Where the default is denied, the strongest left stands in and the explanation owns up."""
    denied = query(denied_models=("large",))
    plan = policy(predictor=PREDICTOR).plan(denied)
    assert names(plan) == ["middle", "small"]
    assert "not the default" in plan.explanation
    fits = policy(predictor=PREDICTOR).plan(replace(denied, vector=familiar(), objective=query(loss=0.5).objective))
    assert fits.models[0].model == "small"


def test_an_unpriced_model_is_never_the_cheaper_one() -> None:
    """A model without a price is neither free nor preferred, and does not pass a limit on cost."""
    plan = policy(model("gift", None), predictor=PREDICTOR).plan(query(loss=1.0, vector=familiar()))
    assert names(plan) == ["small", "large", "middle", "gift"]
    assert plan.models[-1].cost_nano_usd is None
    limited = policy(model("gift", None), predictor=PREDICTOR).plan(query(max_cost_nano_usd=10**9))
    assert "gift" not in names(limited)


def test_a_cached_prefix_keeps_a_session_where_it_is() -> None:
    """Tokens that the current model holds cost it less, so that a cheaper model may not be cheaper any more."""
    fields: dict[str, Any] = {"vector": familiar(), "loss": 0.5, "input_tokens": 900, "max_output_tokens": 1}
    assert policy(predictor=PREDICTOR).plan(query(**fields)).models[0].model == "small"
    fields |= {"current_model": "middle", "cached_prefix_tokens": 900}
    assert policy(predictor=PREDICTOR).plan(query(**fields)).models[0].model == "middle"


def test_tokens_are_estimated_by_model() -> None:
    """Without a count, a model that reads bytes counts more tokens than one that reads words."""
    wide = model("wide", 20, bytes_per_token=4.0, context_tokens=1000)
    assert names(policy(wide).plan(query("x" * 3600))) == ["large", "wide"]
    assert names(policy(wide).plan(query("x", input_bytes=3600))) == ["large", "wide"]


REFUSALS: list[tuple[dict[str, Any], type[FulcrumError], str, str, str]] = [
    ({"candidates": ("gtp",)}, NotFound, "MODEL_UNKNOWN", "candidates", "one of small, middle, large"),
    ({"allowed_models": ("gtp",)}, NotFound, "MODEL_UNKNOWN", "objective.allowed_models", "small"),
    ({"denied_models": ("gtp",)}, NotFound, "MODEL_UNKNOWN", "objective.denied_models", "small"),
    (
        {"candidates": ("small",), "allowed_models": ("large",)},
        FailedPrecondition,
        "OBJECTIVE_IMPOSSIBLE",
        "objective.allowed_models",
        "one of small",
    ),
    (
        {"allowed_models": ("small",), "denied_models": ("small",)},
        FailedPrecondition,
        "OBJECTIVE_IMPOSSIBLE",
        "objective.denied_models",
        "one of small not denied",
    ),
    (
        {"candidates": ("small", "middle"), "needs_tools": True},
        FailedPrecondition,
        "CAPABILITY_MISSING",
        "needs_tools",
        "of small, middle none does",
    ),
    (
        {"input_tokens": 3990, "max_output_tokens": 11},
        InvalidField,
        "PROMPT_TOO_LONG",
        "input_tokens",
        "at most 4000 tokens together (large)",
    ),
    (
        {"max_cost_nano_usd": 1, "input_tokens": 100},
        FailedPrecondition,
        "OBJECTIVE_IMPOSSIBLE",
        "objective.max_cost_nano_usd",
        "at least 200000 (small)",
    ),
]


@pytest.mark.parametrize(("fields", "kind", "reason", "field", "expected"), REFUSALS)
def test_refusals_say_what_would_do(
    fields: dict[str, Any], kind: type[FulcrumError], reason: str, field: str, expected: str
) -> None:
    """Each impossible request is refused with its reason and field, and told what is possible."""
    with pytest.raises(kind) as caught:
        policy().plan(query(**fields))
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert expected in caught.value.expected


def test_latency_limits_models_whose_time_is_known() -> None:
    """A self-hosted model that would take too long is left out; one of unknown time stays."""
    slow = model("slow", None, price=MachinePrice(1, 0, 1e6))
    assert "slow" not in names(policy(slow).plan(query(max_latency_s=1.0)))
    assert "slow" in names(policy(slow).plan(query(max_latency_s=101.0)))
    with pytest.raises(FailedPrecondition) as caught:
        policy(slow).plan(query(max_latency_s=1.0, candidates=("slow",)))
    assert caught.value.field == "objective.max_latency"
    assert "at least 100.000 s (slow)" in caught.value.expected


@pytest.mark.parametrize(
    ("vector", "field", "reason"),
    [
        (Vector(np.full(4, np.nan, np.float32), DIGEST), "embedding.values", "FIELD_INVALID"),
        (Vector(np.ones(5, np.float32), DIGEST), "embedding.values", "FIELD_INVALID"),
        (Vector(np.ones(4, np.float32), "cd" * 32), "embedding.encoder_digest", "ENCODER_MISMATCH"),
    ],
)
def test_bad_vectors_are_refused(vector: Vector, field: str, reason: str) -> None:
    """A vector that is not finite, of another length or of another encoder is refused, even for one candidate."""
    with pytest.raises(FulcrumError) as caught:
        policy(predictor=PREDICTOR).plan(query(vector=vector, candidates=("large",)))
    assert (caught.value.field, caught.value.reason) == (field, reason)


def test_no_vector_without_a_predictor_is_trusted_either() -> None:
    """A vector that is not finite is refused also where nothing would be predicted from it."""
    with pytest.raises(InvalidField):
        policy().plan(query(vector=Vector(np.full(4, np.inf, np.float32), DIGEST)))


def test_the_catalogue_is_sorted() -> None:
    """Candidates come cheapest first whatever their order was."""
    assert list(catalogue().names) == ["small", "middle", "large"]


def test_the_best_within_a_budget() -> None:
    """The strong model answers where its cost fits; a model predicted to be better wins only within the bound."""
    asked: dict[str, Any] = {"goal": Goal.BEST, "vector": familiar(), "loss": 0.5}
    plan = policy(predictor=PREDICTOR).plan(query(**asked))
    assert (plan.models[0].model, plan.reason) == ("large", Reason.BEST_WITHIN_LIMITS)
    assert "no other is known to be better" in plan.explanation
    limited = policy(predictor=PREDICTOR).plan(query(max_cost_nano_usd=500_000, **asked))
    assert (limited.models[0].model, limited.reason) == ("middle", Reason.BEST_WITHIN_LIMITS)
    specialist = Predictor(artefact(quality=(0.6, 0.95, 0.9)))
    better = policy(predictor=specialist).plan(query(**asked))
    assert (better.models[0].model, better.reason) == ("middle", Reason.BEST_WITHIN_LIMITS)
    assert "predicted to answer well with 95 %, large with 90 %" in better.explanation
    careful = policy(predictor=specialist).plan(query(**{**asked, "loss": 0.0}))
    assert careful.models[0].model == "large"


def test_the_fastest_within_loss_and_budget() -> None:
    """The least expected time among models within both; measured wins over the catalogue's; unknown is not fast."""
    known = {"large": Speed(2.0, 50), "middle": Speed(0.5, 100), "small": Speed(1.0, 100)}
    asked: dict[str, Any] = {"goal": Goal.FASTEST, "vector": familiar(), "loss": 0.5, "speeds": known}
    plan = policy(predictor=PREDICTOR).plan(query(**asked))
    assert (plan.models[0].model, plan.reason) == ("middle", Reason.FASTEST_WITHIN_LOSS)
    assert "expected to take 1.5 s, large 4 s" in plan.explanation
    assert [one.seconds for one in plan.models] == [1.5, 4.0, 2.0]
    limited = policy(predictor=PREDICTOR).plan(query(max_cost_nano_usd=200_000, **asked))
    assert names(limited) == ["small"]
    careful = policy(predictor=PREDICTOR).plan(query(**{**asked, "loss": 0.0}))
    assert (careful.models[0].model, careful.reason) == ("large", Reason.NO_CHEAPER_FITS)
    quick = model("quick", 20, speed=Speed(0.01, 1000))
    told = policy(quick, predictor=Predictor(artefact())).plan(query(**{**asked, "speeds": {}}))
    assert (told.models[0].model, told.models[-1].model) == ("large", "quick")
    assert policy(quick).plan(query(max_latency_s=0.01)).models[-1].seconds is None


def test_a_session_leaves_only_for_more_than_its_prefix_is_worth() -> None:
    """While what the session's model holds is worth more than moving gains it stays, and says so; else it moves."""
    fields: dict[str, Any] = {"vector": familiar(), "loss": 0.5, "input_tokens": 900, "max_output_tokens": 1}
    fields |= {"current_model": "middle"}
    stays = policy(predictor=PREDICTOR).plan(query(**fields, cached_prefix_tokens=900))
    assert (stays.models[0].model, stays.reason) == ("middle", Reason.CACHED_PREFIX)
    assert "900 tokens that it holds are worth 3240000 nano-dollars" in stays.explanation
    assert "leaving it for small would not gain" in stays.explanation
    moves = policy(predictor=PREDICTOR).plan(query(**fields, cached_prefix_tokens=600))
    assert (moves.models[0].model, moves.reason) == ("small", Reason.CHEAPEST_WITHIN_LOSS)
    strong = {**fields, "current_model": "large"}
    kept = policy(predictor=PREDICTOR).plan(
        query(**{**strong, "candidates": ("middle", "large")}, cached_prefix_tokens=900)
    )
    assert (kept.models[0].model, kept.reason) == ("large", Reason.CACHED_PREFIX)
    held = policy(predictor=PREDICTOR).plan(query(**{**fields, "loss": 0.0}, cached_prefix_tokens=900))
    assert held.models[0].model == "large"  # no prefix buys a worse answer


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("And the second one?", "it begins with 'And'"),
        ("What about the other direction?", "it begins with 'What about'"),
        ("Why?", "1 words, fewer than 4"),
        ("Can you explain it in simpler terms?", "it says 'it'"),
        ("Bitte nenne mir noch drei weitere", "not evidently English"),
        ("Is the proof complete?", "it says 'the' and names nothing of its own"),
        ("Give me three more examples.", "it says 'more' and names"),
        ("Can I skip a step? I think the lemma is enough.", "it says 'the' and names"),
    ],
)
def test_a_turn_that_leans_on_the_conversation_goes_to_the_strong_model(text: str, why: str) -> None:
    """A last turn that says nothing by itself is not judged by itself; the same text alone is a prompt like any."""
    asked: dict[str, Any] = {"vector": familiar(), "loss": 0.5}
    plan = policy(predictor=PREDICTOR).plan(query(text, **asked, earlier_turns=2))
    assert (plan.models[0].model, plan.reason) == ("large", Reason.NEEDS_CONVERSATION)
    assert why in plan.explanation
    assert plan.contested_losses == {}
    assert policy(predictor=PREDICTOR).plan(query(text, **asked)).models[0].model == "small"


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of Norway?",
        "Convert 12 km to metres.",
        "How do vaccines work?",
        "What does `sorted` return in the worst case?",
        "Tom has 3 apples and gives her sister 2 of them. " * 5,
    ],
)
def test_a_turn_that_stands_alone_is_routed_in_a_conversation(text: str) -> None:
    """A new question within a conversation is routed as it would be alone."""
    plan = policy(predictor=PREDICTOR).plan(query(text, vector=familiar(), loss=0.5, earlier_turns=6))
    assert (plan.models[0].model, plan.reason) == ("small", Reason.CHEAPEST_WITHIN_LOSS)


def test_a_tools_result_goes_to_the_model_that_called_it() -> None:
    """A tool call is part of the answer that its model was chosen for; without such a model the default goes on."""
    asked: dict[str, Any] = {"vector": familiar(), "loss": 0.1, "earlier_turns": 2, "answers_tool_call": True}
    result = "twenty degrees and " * 20
    goes_on = policy(predictor=PREDICTOR).plan(query(result, current_model="middle", **asked))
    assert (goes_on.models[0].model, goes_on.reason) == ("middle", Reason.CONTINUES_TOOL_CALL)
    for changes in ({}, {"current_model": "large"}, {"current_model": "gone"}, {"current_model": "small", "loss": 0.0}):
        plan = policy(predictor=PREDICTOR).plan(query(result, **{**asked, **changes}))
        assert (plan.models[0].model, plan.reason) == ("large", Reason.NEEDS_CONVERSATION)


def wide(*extra: Model) -> Catalogue:
    """Three models, each dearer than the one before in every respect, which take the same prompts."""
    strong = model("large", 10, is_default=True, context_tokens=4000)
    others = model("small", 1, context_tokens=4000), model("middle", 4, context_tokens=4000)
    return Catalogue([strong, *(extra or others)])


def threshold_of(models: Catalogue, **fields: Any) -> str:
    made = Policy(Eligibility(models, 256), PREDICTOR)
    told = made.plan(query(loss=0.05, vector=familiar(), **fields)).explanation
    found = re.search(r"where below (\S+ %) is allowed", told)
    assert found, told
    return found[1]


@pytest.mark.parametrize("wish", ["candidates", "allowed_models"])
def test_a_plan_tells_whom_the_callers_wishes_leave_out(wish: str) -> None:
    """Those that its names leave out, and not those that its length does."""
    made, fields = policy(predictor=PREDICTOR), dict[str, Any]({wish: ("small", "large")})
    assert made.plan(query(vector=familiar(), **fields)).excluded == ("middle",)
    assert made.plan(query(vector=familiar(), denied_models=("small",))).excluded == ("small",)
    assert made.plan(query("x" * 1500, vector=familiar())).excluded == ()


def test_one_order_counts_whoever_is_chosen() -> None:
    """Where every prompt has the same rivals in one order, those behind a chosen one add no harm."""
    narrow = model("small", 1, context_tokens=1000), model("middle", 4, context_tokens=4000)
    crossing = model("small", 1, context_tokens=4000, price=ListPrice(1, 1, 1, 30)), narrow[1]
    ordered = float(threshold_of(wide()).split()[0])
    equal = model("small", 4, context_tokens=4000), narrow[1]
    for others in (narrow, crossing, equal):
        assert float(threshold_of(wide(*others)).split()[0]) < ordered
    assert float(threshold_of(wide(), max_latency_s=1e3).split()[0]) < ordered
    held: dict[str, Any] = {"cached_prefix_tokens": 1, "current_model": "middle"}
    for alike in ({"max_cost_nano_usd": 10**9}, held):
        assert float(threshold_of(wide(), **alike).split()[0]) == ordered
    alone = model("small", 1, context_tokens=1000)
    assert threshold_of(wide(alone)) == threshold_of(wide(replace(alone, context_tokens=4000)))


def test_a_prefix_changes_no_order_that_the_promise_counts_on() -> None:
    """A session moves to the first model that keeps the bound though the one that it is on would cost less, and stays
    where that first one loses too much; one that is on the default stays where that costs least.
    """
    held: dict[str, Any] = {"cached_prefix_tokens": 1000, "input_tokens": 1000, "max_output_tokens": 1}
    strong = model("large", 10, is_default=True, context_tokens=4000, price=ListPrice(10, 0.01, 10, 10))
    middle = model("middle", 4, context_tokens=4000, price=ListPrice(4, 0.01, 4, 4))
    made = Policy(Eligibility(Catalogue([strong, model("small", 1, context_tokens=4000), middle]), 256), PREDICTOR)

    def answers(loss: float, current: str) -> tuple[str, Reason]:
        plan = made.plan(query(loss=loss, vector=familiar(), current_model=current, **held))
        return plan.models[0].model, plan.reason

    assert answers(0.05, "middle") == ("small", Reason.CHEAPEST_WITHIN_LOSS)
    assert answers(0.004, "middle") == ("middle", Reason.CHEAPEST_WITHIN_LOSS)
    assert answers(0.05, "large") == ("large", Reason.CACHED_PREFIX)


def test_only_a_prefix_makes_a_dear_model_cheaper() -> None:
    """A model that by its price never is cheaper than the default has no part in the promise, whatever it holds."""
    strong = model("large", 4, is_default=True, context_tokens=4000)
    dear = model("middle", 10, context_tokens=4000, price=ListPrice(10, 0.01, 10, 10))
    made = Policy(Eligibility(Catalogue([strong, dear]), 256), PREDICTOR)
    held: dict[str, Any] = {"cached_prefix_tokens": 1000, "input_tokens": 1000, "current_model": "middle"}
    plan = made.plan(query(loss=0.5, vector=familiar(), max_output_tokens=1, **held))
    assert (plan.models[0].model, plan.reason) == ("large", Reason.NO_CHEAPER_FITS)


def test_a_stand_in_keeps_the_bound_whichever_answers() -> None:
    """Where rivals have one order the first of them may lose more than one that might answer instead of it."""
    known = PREDICTOR.calibration
    ordered, any_of = (known.threshold(("small", "middle"), 0.05, None, in_order) for in_order in (True, False))
    between = (ordered + any_of) / 2
    made = Policy(Eligibility(wide(), 256), Predictor(artefact(losses=(between, between, 0.0))))
    plan = made.plan(query(loss=0.05, vector=familiar()))
    assert plan.models[0].model == "small"
    assert [one.model for one in plan.models if one.may_stand_in] == ["large"]


def test_effort_is_one_more_choice() -> None:
    """Of models at one price the one that says less is cheaper, unless the request lets neither say much."""
    brief = model("brief", 10, expected_output_tokens=100, context_tokens=4000)
    long = model("long", 10, is_default=True, expected_output_tokens=3000, context_tokens=4000)
    predictor = Predictor(artefact(models=("brief", "middle", "long"), default_model="long"))
    choosing = Policy(Eligibility(Catalogue([long, brief]), 256), predictor)
    plan = choosing.plan(query(vector=familiar()))
    assert (names(plan), plan.reason) == (["brief", "long"], Reason.CHEAPEST_WITHIN_LOSS)
    assert [one.cost_nano_usd for one in plan.models] == [(8 + 100) * 10_000, (8 + 3000) * 10_000]
    assert choosing.plan(query(vector=familiar(), max_output_tokens=50)).reason is Reason.NO_CHEAPER_FITS
