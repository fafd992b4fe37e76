"""The fingerprint tells apart everything that changes an answer, and nothing else."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.edge.chat import CacheControl, Message, Objective, Request, Sampling, Tool, ToolCall
from services.edge.fingerprint import fingerprint

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
seconds = st.floats(0.001, 1e6)
share = st.floats(0.001, 1)
counts = st.integers(1, 1 << 20)
calls = st.lists(st.builds(ToolCall, words, words, words), max_size=2).map(tuple)
names = st.lists(words, max_size=3).map(tuple)
FIELDS: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    Message: {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]),
        "content": words,
        "tool_calls": calls,
        "tool_call_id": words,
    },
    Tool: dict.fromkeys(("name", "description", "parameters_json_schema"), words),
    Objective: {
        "max_quality_loss": st.none() | share,
        "confidence": st.none() | share,
        "max_cost_nano_usd": st.none() | counts,
        "max_latency_s": st.none() | seconds,
        "allowed_models": names,
        "denied_models": names,
        "goal": st.none() | st.sampled_from(["CHEAPEST", "BEST", "FASTEST"]),
        "whole_answer": st.booleans(),
    },
    Sampling: {
        "max_output_tokens": st.none() | counts,
        "temperature": st.none() | share,
        "top_p": st.none() | share,
        "top_k": st.none() | counts,
        "seed": st.none() | counts,
        "stop": names,
        "json_schema": st.none() | words,
        "top_logprobs": st.none() | st.integers(0, 20),
    },
}
CHANGES = [
    (part, name)
    for part, cls in (("objective", Objective), ("sampling", Sampling), ("tools", Tool), ("earlier turn", Message))
    for name in FIELDS[cls]
] + [("last turn", name) for name in FIELDS[Message] if name != "content"]
turns = st.builds(Message, **FIELDS[Message])
objectives = st.builds(Objective, **FIELDS[Objective])
samplings = st.builds(Sampling, **FIELDS[Sampling])
last_turns = st.builds(Message, st.sampled_from(["user", "tool"]), words, calls, words)
tools = st.lists(st.builds(Tool, **FIELDS[Tool]), max_size=2).map(tuple)
conversations = st.tuples(st.lists(turns, max_size=3), last_turns).map(lambda both: (*both[0], both[1]))
requests = st.builds(Request, words, words, conversations, objectives, samplings, tools)


FULL = Request(
    "r",
    "t",
    (
        Message("system", "Be brief."),
        Message("assistant", "", (ToolCall("c", "look", "{}"),)),
        Message("tool", "found", (), "c"),
    ),
    Objective(0.01, 0.9, 1000, 2.0, ("a",), ("b",)),
    Sampling(10, 0.5, 0.9, 40, 7, ("end",), "{}", 3),
    (Tool("look", "Looks.", "{}"), Tool("find", "Finds.", "{}")),
)


@settings(max_examples=50)
@given(requests, share)
def test_equal_requests_are_equal(request: Request, loss: float) -> None:
    """The digest follows from the request's values alone, whatever objects hold them."""
    twin = replace(
        request, messages=tuple(replace(turn) for turn in request.messages), sampling=replace(request.sampling)
    )
    assert fingerprint(request, loss) == fingerprint(twin, loss)
    assert len(fingerprint(request, loss)) == 32


@pytest.mark.parametrize(("part", "name"), CHANGES)
@settings(max_examples=10)
@given(data=st.data())
def test_any_change_changes_it(part: str, name: str, data: st.DataObject) -> None:
    """Changing one field of the objective, the sampling, a tool, an earlier or the last turn changes the digest."""
    if part in ("objective", "sampling"):
        changed = replace(FULL, **{part: _changed(data, getattr(FULL, part), name)})
    elif part == "tools":
        changed = replace(FULL, tools=(_changed(data, FULL.tools[0], name), *FULL.tools[1:]))
    else:
        turns = list(FULL.messages)
        place = 0 if part == "earlier turn" else -1
        turns[place] = _changed(data, turns[place], name)
        changed = replace(FULL, messages=tuple(turns))
    assert fingerprint(changed, 0.01) != fingerprint(FULL, 0.01)


@settings(max_examples=50)
@given(requests, st.data())
def test_order_and_number_count(request: Request, data: st.DataObject) -> None:
    """Leaving out, adding, repeating or reordering earlier turns or tools changes the digest."""
    *earlier, last = request.messages
    others = [data.draw(st.permutations(earlier)), [*earlier, last], [data.draw(turns), *earlier], earlier[1:]]
    for turns_before in others:
        if tuple(turns_before) != tuple(earlier):
            changed = replace(request, messages=(*turns_before, last))
            assert fingerprint(changed, 0.01) != fingerprint(request, 0.01)
    for kit in ((*request.tools, Tool("a", "b", "c")), request.tools[1:], request.tools[::-1]):
        if kit != request.tools:
            assert fingerprint(replace(request, tools=kit), 0.01) != fingerprint(request, 0.01)
    assert fingerprint(request, 0.01) != fingerprint(request, 0.02)


@settings(max_examples=50)
@given(requests, words, words, words)
def test_what_does_not_change_an_answer_does_not_count(request: Request, text: str, tenant: str, name: str) -> None:
    """Prompt, tenant, id and cache control are not in it: they are the rest of the key, or no part of the answer."""
    last = replace(request.messages[-1], content=text)
    other = Request(
        name,
        tenant,
        (*request.messages[:-1], last),
        request.objective,
        request.sampling,
        request.tools,
        CacheControl(no_store=True, max_age_s=1.0),
    )
    assert fingerprint(other, 0.01) == fingerprint(request, 0.01)


def test_every_field_is_tried() -> None:
    """A field that is added to a request is added here, and so to what the digest is held to."""
    for cls, strategies in FIELDS.items():
        assert {one.name for one in fields(cls)} == strategies.keys()
    assert {one.name for one in fields(Request)} == {
        *("request_id", "tenant", "principal", "cache_control"),  # not in the digest
        *("messages", "objective", "sampling", "tools"),  # in it
    }


def test_parts_do_not_run_into_one_another() -> None:
    """Moving a word from one turn, or one field, to the next is a change."""
    requests = [
        Request("r", "t", (Message("system", "ab"), Message("user", "c"), Message("user", "x"))),
        Request("r", "t", (Message("system", "a"), Message("user", "bc"), Message("user", "x"))),
        Request("r", "t", (Message("system", "abc"), Message("user", "x"))),
        Request("r", "t", (Message("user", "x"),), tools=(Tool("a", "bc", ""),)),
        Request("r", "t", (Message("user", "x"),), tools=(Tool("ab", "c", ""),)),
        Request("r", "t", (Message("user", "x"),), sampling=Sampling(stop=("ab", "c"))),
        Request("r", "t", (Message("user", "x"),), sampling=Sampling(stop=("a", "bc"))),
        Request("r", "t", (Message("user", "x"),), objective=Objective(allowed_models=("a",))),
        Request("r", "t", (Message("user", "x"),), objective=Objective(denied_models=("a",))),
    ]
    assert len({fingerprint(request, 0.01) for request in requests}) == len(requests)


def _changed(data: st.DataObject, value: Any, name: str) -> Any:
    """The value with another content of one field."""
    old = getattr(value, name)
    return replace(value, **{name: data.draw(FIELDS[type(value)][name].filter(lambda new: new != old))})
