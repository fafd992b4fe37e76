"""A scope's decision as bytes and back: arrays and counts, nothing that runs."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.cache.challenger import Challenger
from services.cache.evidence import NAMES, Record
from services.cache.known_answers import Alias
from services.cache.pair_verifier import PairVerifier
from services.cache.scope_decision import ScopeDecision
from services.cache.vetoes import Veto

_VERSION = 5
_BOOKS = (
    "requests", "allowances", "served", "unaudited", "audits", "audits_wrong", "spendings", "expected_wrong",
    "largest_risk",
)  # fmt: skip


def pack(scope: ScopeDecision) -> bytes:
    """Everything that the scope has learnt, and its books."""
    risk, scorer, answers = scope.risk, scope.scorer, scope.answers
    known, trials = answers.records.values(), scope.trials.counts.items()
    challengers = _challengers(scope)
    facts = {
        "version": _VERSION,
        "features": NAMES,
        "books": {name: getattr(risk, name) for name in _BOOKS},
        "penalties": risk.certificate.penalties,
        "brake": risk.brake.facts(),
        "entries": answers.entries,
        "doubts": list(answers.doubts),
        "count": scorer.count,
        "warmth": scope.warmth.state,
        "contests": {name: one.contest.state for name, one in challengers.items()},
        "trials of": {one.hex(): {veto.name: counts for veto, counts in of.items()} for one, of in trials},
    }
    arrays: dict[str, Any] = dict(
        recent=risk.recent(),
        answers=np.array(list(answers.records), np.int64),
        right_of=np.array([record.right for record in known], float),
        wrong_of=np.array([record.wrong for record in known], float),
        entries_of=np.array([record.entries for record in known], np.int64),
        aliases=np.array([(one, alias.of, alias.entries) for one, alias in answers.aliases.items()], np.int64),
        warm_rows=scorer.warm_rows.astype(np.float32),
        warm_right=scorer.warm_right.astype(np.float32),
        **scorer.arrays(),
        **scorer.fit(),
    )
    for name, one in challengers.items():
        arrays |= {name: one.verifier.weights, f"opinions of the {name}": one.opinions}
    return _joined(facts, arrays)


def unpack(state: bytes, min_similarity: float, chance: Callable[[], float]) -> ScopeDecision | None:
    """The scope that was packed; None where another version packed it."""
    scope = ScopeDecision(min_similarity, chance)
    try:
        facts, arrays = _split(state)
        if (facts["version"], tuple(facts["features"])) != (_VERSION, NAMES):
            return None
        for name, value in facts["books"].items():
            setattr(scope.risk, name, value)
        scope.risk.certificate.penalties = facts["penalties"]
        scope.risk.brake.restore(facts["brake"])
        scope.risk.restore(arrays["recent"])
        scope.warmth.restore(facts["warmth"])
        scope.scorer.restore(facts["count"], arrays["rows"], arrays["right"], arrays["weights"], refit=False)
        scope.scorer.resume(arrays, arrays["warm_rows"].astype(float), arrays["warm_right"].astype(float))
        for name, contest in facts["contests"].items():  # the successor first
            successor, verifier = scope.challenger, PairVerifier(arrays[name])
            scope.challenger = Challenger(verifier, scope.scorer, arrays[f"opinions of the {name}"])
            scope.challenger.contest.restore(contest)
            scope.challenger.successor = successor
    except (ValueError, KeyError, TypeError):
        return None
    scope.answers.entries, scope.answers.doubts = facts["entries"], dict.fromkeys(facts["doubts"])
    scope.trials.counts = {
        bytes.fromhex(one): {Veto[name]: (good, bad) for name, (good, bad) in of.items()}
        for one, of in facts["trials of"].items()
    }
    counts = (arrays[name].tolist() for name in ("right_of", "wrong_of", "entries_of"))
    scope.answers.records = dict(zip(arrays["answers"].tolist(), map(Record, *counts), strict=True))
    scope.answers.aliases = {answer: Alias(of, entries) for answer, of, entries in arrays["aliases"].tolist()}
    return scope


def _challengers(scope: ScopeDecision) -> dict[str, Challenger]:
    """Who challenges a verifier that leads, if anybody does, and before whom: the scope's verifier, if it has one."""
    first = scope.challenger
    found = {"successor": first and first.successor, "verifier": first}
    return {name: one for name, one in found.items() if one}


def _joined(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Facts and arrays one after another; not compressed, which took longer than all else."""
    shapes = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
    head = json.dumps({"facts": facts, "arrays": shapes}).encode()
    return b"".join([len(head).to_bytes(4, "little"), head, *(array.tobytes() for array in arrays.values())])


def _split(state: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What was joined. Raises ValueError, KeyError or TypeError for other bytes."""
    at = 4 + int.from_bytes(state[:4], "little")
    head, arrays = json.loads(state[4:at]), {}
    for name, (kind, shape) in head["arrays"].items():
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(state, kind, count, at).reshape(shape) if count else np.zeros(shape, kind)
        at += arrays[name].nbytes
    return head["facts"], arrays
