"""Warming a scope up: through the contract on both bindings, whole or not at all."""

from typing import Any

import grpc
import pytest
from fulcrum.cache.v1 import cache_service_pb2 as pb

from tests.wire.expect import refused
from tests.wire.suites import Suite
from tests.wire.test_cache import embedded

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def examples(count: int) -> list[pb.Example]:
    found = [pb.Example(text="How do I top up my card?", answer=0)]
    for number in range(1, count):
        verdict = pb.VERDICT_RIGHT if number % 3 else pb.VERDICT_WRONG
        near = pb.ExampleNeighbour(example=0, similarity=0.9 if number % 3 else 0.6, verdict=verdict)
        found.append(pb.Example(text=f"Topping up, way {number}", answer=0 if number % 3 else number, nearest=[near]))
    return found


async def request(suite: Suite, tenant: str, **fields: Any) -> pb.WarmUpRequest:
    digest = (await embedded(suite, "any")).encoder_digest
    return pb.WarmUpRequest(
        scope=pb.Scope(tenant=tenant), **({"encoder_digest": digest, "examples": examples(91)} | fields)
    )


async def promise(suite: Suite, tenant: str) -> pb.Promise:
    stats = await suite.cache.Stats(pb.StatsRequest(), timeout=5)
    (found,) = [one for one in stats.promises if one.tenant == tenant]
    return found  # type: ignore[no-any-return]


async def test_a_scope_is_taught_and_promises_nothing_of_it(suite: Suite) -> None:
    """Labels are counted by kind; audits, requests and the certificate stay at nothing, the second time too."""
    asked = await request(suite, "warmed")
    for _ in range(2):
        learnt = await suite.cache.WarmUp(asked, timeout=30)
        assert (learnt.labels, learnt.labels_right) == (90, 60)
        found = await promise(suite, "warmed")
        assert (found.requests, found.audits, found.served, found.certified) == (0, 0, 0, 0.0)
        assert (learnt.verifier_pairs, found.verifier) == (0, pb.VERIFIER_STANDING_NONE)


async def test_a_verifier_is_trained_where_there_are_pairs_enough(suite: Suite) -> None:
    """From 200 labelled neighbours on there is one, which challenges and decides nothing yet."""
    learnt = await suite.cache.WarmUp(await request(suite, "verified", examples=examples(301)), timeout=30)
    found = await promise(suite, "verified")
    assert learnt.verifier_pairs == 300
    assert found.verifier == pb.VERIFIER_STANDING_CHALLENGES
    assert found.verifier_stake == pytest.approx(1.0)


async def test_an_example_at_fault_is_named_and_nothing_is_taught(suite: Suite) -> None:
    """A neighbour that comes later, too few labels and labels of one kind are refused."""
    bad = examples(91)
    bad[70].nearest[0].example = 70
    asked = await request(suite, "unwarmed", examples=bad)
    field = "examples[70].nearest[0].example"
    await refused(suite.cache.WarmUp(asked, timeout=5), INVALID, "FIELD_INVALID", field)
    for few in (examples(20), [one for one in examples(200) if one.answer == 0]):
        asked = await request(suite, "unwarmed", examples=few)
        error = await refused(suite.cache.WarmUp(asked, timeout=5), INVALID, "FIELD_INVALID", "examples")
        assert "at least 50 labels" in (error.details() or "")
    stats = await suite.cache.Stats(pb.StatsRequest(), timeout=5)
    assert "unwarmed" not in [one.tenant for one in stats.promises]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"encoder_digest": "x"}, "encoder_digest"),
        ({"examples": []}, "examples"),
        ({"examples": [pb.Example(text="", answer=0)]}, "examples[0].text"),
        ({"examples": [pb.Example(text="a", answer=-1)]}, "examples[0].answer"),
    ],
    ids=["no digest", "no examples", "no text", "no answer"],
)
async def test_what_breaks_the_contract_is_refused(suite: Suite, change: dict[str, Any], field: str) -> None:
    """The field is named as it stands in the request."""
    await refused(suite.cache.WarmUp(await request(suite, "t", **change), timeout=5), INVALID, "FIELD_INVALID", field)


async def test_each_encoder_has_a_scope_to_be_taught(suite: Suite) -> None:
    """Similarities of another encoder, which may serve soon, teach another scope of the tenant."""
    for digest in ("ab" * 32, "cd" * 32):
        await suite.cache.WarmUp(await request(suite, "swapping", encoder_digest=digest), timeout=30)
    stats = await suite.cache.Stats(pb.StatsRequest(), timeout=5)
    assert [one.encoder_digest[:2] for one in stats.promises if one.tenant == "swapping"] == ["ab", "cd"]
