"""A scope's decision as bytes and back: arrays and counts, nothing that runs."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from services.cache.challenger import Challenger
from services.cache.evidence import NAMES, Record
from services.cache.pair_verifier import PairVerifier
from services.cache.scope_decision import ScopeDecision
from services.cache.vetoes import Veto
from services.cache.warm_up import Lessons

_VERSION = 1
_BOOKS = (
    "requests", "allowance", "served", "unaudited", "audits", "audits_wrong", "spent", "expected_wrong",
    "inverse_weighted_wrong", "largest_risk",
)  # fmt: skip


def pack(scope: ScopeDecision) -> bytes:
    """Everything that the scope has learnt, and its books."""
    risk, scorer = scope.risk, scope.scorer
    known = list(scope.records.items())
    contest = scope.challenger and (scope.challenger.contest.leads, scope.challenger.contest.log_stakes)
    facts = {
        "version": _VERSION,
        "features": NAMES,
        "books": {name: getattr(risk, name) for name in _BOOKS},
        "penalties": risk.certificate.penalties,
        "entries": scope.entries,
        "count": scorer.count,
        "warmth": scope.warmth.state,
        "contest": contest,
        "trials": {veto.name: counts for veto, counts in scope.trials.counts.items()},
    }
    arrays: dict[str, Any] = dict(
        facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
        recent=risk.recent(),
        answers=np.array([answer for answer, _ in known], np.int64),
        records=np.array([(record.right, record.wrong, record.entries) for _, record in known], float).reshape(-1, 3),
        aliases=np.array(list(scope.aliases.items()), np.int64).reshape(-1, 2),
        warm_rows=scorer.warm_rows.astype(np.float32),
        warm_right=scorer.warm_right.astype(np.float32),
        **scorer.arrays(),
    )
    if scope.challenger:
        arrays |= {"verifier": scope.challenger.verifier.weights, "opinions": scope.challenger.opinions}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def unpack(state: bytes, min_similarity: float, chance: Callable[[], float]) -> ScopeDecision | None:
    """The scope that was packed; None where another version packed it."""
    scope = ScopeDecision(min_similarity, chance)
    try:
        arrays = np.load(io.BytesIO(state), allow_pickle=False)
        facts = json.loads(arrays["facts"].tobytes())
        if (facts["version"], tuple(facts["features"])) != (_VERSION, NAMES):
            return None
        for name, value in facts["books"].items():
            setattr(scope.risk, name, value)
        scope.risk.certificate.penalties = facts["penalties"]
        scope.risk.restore(arrays["recent"])
        if "warmth" in facts:  # what earlier releases packed had none
            scope.warm(Lessons(arrays["warm_rows"].astype(float), arrays["warm_right"].astype(float)))
            scope.warmth.restore(facts["warmth"])
        scope.scorer.restore(facts["count"], arrays["rows"], arrays["right"], arrays["weights"])
        if facts.get("contest"):
            scope.challenger = Challenger(PairVerifier(arrays["verifier"]), scope.scorer, arrays["opinions"])
            scope.challenger.contest.leads, scope.challenger.contest.log_stakes = facts["contest"]
    except (ValueError, KeyError, zipfile.BadZipFile):
        return None
    scope.entries = facts["entries"]
    scope.trials.counts = {Veto[name]: (good, bad) for name, (good, bad) in facts["trials"].items()}
    for answer, (right, wrong, entries) in zip(arrays["answers"].tolist(), arrays["records"].tolist(), strict=True):
        scope.records[answer] = Record(right, wrong, int(entries))
    scope.aliases.update(arrays["aliases"].tolist())
    return scope
