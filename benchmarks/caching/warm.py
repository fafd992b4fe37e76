"""What a warm-up from a file teaches, by the path that `fulcrum cache warm` and the service take."""

from pathlib import Path

from fulcrum.cache.v1 import cache_service_pb2 as pb

from benchmarks.caching.corpus import vectors_of
from benchmarks.caching.traffic import NEVER
from services.cache import messages
from services.cache.warm_up import Lessons, lessons
from services.cli.labelled import Logged, read_labelled
from services.cli.warming import examples_of, latest


def warmed_by(path: Path) -> Lessons:
    """The lessons of labelled pairs or of a log, in which the category `oos` never repeats."""
    rows = [
        Logged(row.text, None) if isinstance(row, Logged) and row.answer == NEVER else row
        for row in read_labelled(path)
    ]
    texts = latest(rows)
    return lessons(messages.examples(pb.WarmUpRequest(examples=examples_of(rows, texts, vectors_of(texts)))))
