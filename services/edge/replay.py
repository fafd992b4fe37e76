"""Answers that were not made for this request: replayed from the cache, or shared with a twin under way."""

from dataclasses import replace

from services.edge.accounts import Executed
from services.edge.chat import CacheNote, Delta, Finish, FinishReason, Outcome, TextDelta, Usage
from services.edge.ports import Hit
from services.edge.work import Work

_PIECE_CHARACTERS = 1024


def replay(hit: Hit, work: Work) -> list[Delta | Outcome]:
    """The stored answer in pieces, then its outcome."""
    starts = range(0, len(hit.text), _PIECE_CHARACTERS)
    usage = Usage(input_tokens=hit.input_tokens, output_tokens=hit.output_tokens)
    finish = Finish(FinishReason.STOP, usage if hit.output_tokens else None)  # stored as 0 where it was not known
    note = CacheNote(hit.kind, hit.lookup_id, hit.probability, hit.similarity)
    return [
        *(TextDelta(hit.text[start : start + _PIECE_CHARACTERS]) for start in starts),
        Outcome(hit.model, finish, note, degradations=tuple(work.degradations), attempts=0),
    ]


def as_shared(end: Outcome | Executed, work: Work) -> Outcome:
    """The outcome of a twin's execution for a request that only listened, with what either did without."""
    outcome = end.outcome if isinstance(end, Executed) else end
    note = replace(outcome.cache, result="shared", explanation="an identical request was under way")
    degradations = (*work.degradations, *outcome.degradations)
    finish = replace(outcome.finish, machine_s=0.0)
    return replace(outcome, cache=note, finish=finish, degradations=degradations, attempts=0, discarded=())
