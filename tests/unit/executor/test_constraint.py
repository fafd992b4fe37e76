"""Answers are held to JSON schemas, and schemas that cost too much hold up nobody but who sent them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from services.chassis.errors import InvalidField, Overloaded
from services.executor import schema_court
from services.executor.constraint import Constraint
from services.executor.schema_court import LONGEST_TRIAL_S, SchemaCourt
from services.executor.vocabulary import Vocabulary
from tests.unit.executor.folders import END, VOCABULARY, byte_tokenizer

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
WORDS = Vocabulary(byte_tokenizer(), frozenset((END,)), VOCABULARY)


@pytest_asyncio.fixture(scope="module")
async def court() -> AsyncIterator[SchemaCourt]:
    court = SchemaCourt()
    yield court
    await court.close()


def wide(choices: int, levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        made = {"anyOf": [made] * choices}
    return made


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        made = {"type": "array", "items": made}
    return made


def drawn(schema: Any, seed: int) -> Iterator[int]:
    """Tokens that a model of random logits, with a slight love of closing quotes and brackets, comes to."""
    constraint, rng = Constraint(WORDS.matcher(json.dumps(schema))), np.random.default_rng(seed)
    liked = np.zeros(VOCABULARY + 5, np.float32)
    liked[list(b'"}]')] = 3
    complete = False
    while not complete:
        logits = constraint.forbid(liked + rng.gumbel(size=VOCABULARY + 5).astype(np.float32))
        assert np.isneginf(logits[VOCABULARY:]).all()  # tokens of the model that the tokenizer does not have
        token = int(logits.argmax())
        if token == END:
            return
        complete = constraint.take(token)
        yield token


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_model_wants_satisfies_the_schema(seed: int) -> None:
    """Random choices among the allowed tokens are JSON of the schema, and end where it is complete."""
    found = json.loads(bytes(drawn(PERSON, seed)))
    assert list(found) == ["name", "age"]
    assert len(found["name"]) <= 5
    assert 0 <= found["age"] <= 99


async def test_ordinary_schemas_may_be_used(court: SchemaCourt) -> None:
    """Schemas as applications send them pass, the second time at once."""
    for schema in (PERSON, {}, {"enum": [f"value {number}" for number in range(500)]}, deep(8)):
        await court.check(json.dumps(schema), "a")
    begin = time.perf_counter()
    await court.check(json.dumps(PERSON), "a")
    assert time.perf_counter() - begin < 0.01


@pytest.mark.parametrize(
    "schema",
    [
        "{",
        "[]",
        json.dumps({"type": "nonsense"}),
        json.dumps({"not": {"type": "object"}}),
        json.dumps(deep(200)),
        "[" * 60_000,
        json.dumps({"type": "number", "minimum": -1.23456789e300, "maximum": 1.23456789e300}),
    ],
    ids=["no JSON", "no schema", "unknown type", "not supported", "deep", "only brackets", "range"],
)
async def test_what_cannot_be_held_to_is_refused(court: SchemaCourt, schema: str) -> None:
    """No schema, one that needs what is not there, and one beyond the limits name the field."""
    with pytest.raises(InvalidField, match="response_format"):
        await court.check(schema, "a")


async def test_a_process_that_died_condemns_no_schema(court: SchemaCourt) -> None:
    """Whatever ended it, the next schema is tried in another."""
    await court.check(json.dumps({"type": "boolean"}), "warm")
    for trial in court._trials:
        if trial._process:
            trial._process.kill()
            await trial._process.wait()
    await court.check(json.dumps({"type": "string"}), "a")


async def test_a_slow_moment_is_held_against_a_schema_for_a_while_and_by_its_tenant_alone(
    court: SchemaCourt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What did not end in time is refused at once to who sent it, tried anew for others, and later for all."""
    schema = json.dumps({"type": "number"})
    with monkeypatch.context() as slow:
        slow.setattr(schema_court, "LONGEST_TRIAL_S", 1e-6)
        with pytest.raises(InvalidField, match="takes too long"):
            await court.check(schema, "a")
    with pytest.raises(InvalidField, match="takes too long"):
        await court.check(schema, "a")
    await court.check(schema, "b")
    court._costly_until.clear()
    await court.check(schema, "a")


async def test_one_tenants_schemas_leave_room_for_others(court: SchemaCourt) -> None:
    """Eight of a tenant may wait, whoever else waits; those who leave, and who are done, leave nothing behind."""
    schemas = [json.dumps({"type": "integer", "minimum": number}) for number in range(9)]
    async with asyncio.TaskGroup() as tried:
        mine = [tried.create_task(court.check(schema, "many")) for schema in schemas[:8]]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="8 of this tenant waiting"):
            await court.check(schemas[8], "many")
        tried.create_task(court.check(schemas[8], "other"))
        await asyncio.sleep(0)
        mine[-1].cancel()
    assert not court._tenants
    assert not court._waiting


async def test_a_hostile_schema_holds_up_its_own_tenant_alone(court: SchemaCourt) -> None:
    """Schemas that would take minutes end in about a second each, and another tenant's is tried meanwhile."""
    hostile = [json.dumps({"type": "integer", "multipleOf": 999_983 + 2 * number}) for number in range(2)]
    await court.check(json.dumps({"type": "boolean"}), "warm")
    begin = time.perf_counter()
    attacks = [asyncio.create_task(court.check(schema, "hostile")) for schema in hostile]
    await asyncio.sleep(0.05)
    for number in range(3):
        await court.check(json.dumps({"type": "integer", "maximum": number}), "good")
    assert time.perf_counter() - begin < LONGEST_TRIAL_S
    for attack in attacks:
        with pytest.raises(InvalidField, match="too long"):
            await attack
    begin = time.perf_counter()
    with pytest.raises(InvalidField, match="too long"):  # and is remembered
        await court.check(hostile[0], "hostile")
    assert time.perf_counter() - begin < 0.01


async def test_who_leaves_leaves_no_answer_behind(court: SchemaCourt) -> None:
    """A check that is cancelled midway does not hand its verdict to the next one."""
    leaving = asyncio.create_task(court.check(json.dumps({"type": "integer", "multipleOf": 999_979}), "a"))
    await asyncio.sleep(0.1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await court.check(json.dumps({"type": "integer", "minimum": 3}), "a")


def test_an_answer_that_becomes_costly_ends() -> None:
    """Masks that take long, which no trial foresees, end the one answer with the field named."""
    costly = {"allOf": [{"type": "integer", "multipleOf": prime} for prime in (997, 991, 983, 977)]}
    constraint = Constraint(WORDS.matcher(json.dumps(costly)))
    begin, digits = time.thread_time(), np.zeros(VOCABULARY, np.float32)
    rng = np.random.default_rng(0)

    def answer() -> None:
        for _ in range(2_000):
            digits[48:58] = rng.random(10)
            constraint.take(int(constraint.forbid(digits)[48:58].argmax()) + 48)

    with pytest.raises(InvalidField, match="too costly"):
        answer()
    assert time.thread_time() - begin < 6


def test_a_vocabulary_needs_an_end() -> None:
    """Without an end token no answer could be complete."""
    with pytest.raises(ValueError, match="ends an answer"):
        Vocabulary(byte_tokenizer(), frozenset(), VOCABULARY)


def test_tokens_are_told_by_their_bytes(tmp_path: Path) -> None:
    """A part of a character is told as the byte that it is."""
    assert [WORDS.token_bytes(token) for token in "é".encode()] == [b"\xc3", b"\xa9"]
