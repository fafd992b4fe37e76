"""`fulcrum cache warm`: makes examples, each with its nearest earlier ones, of labelled texts, and teaches a scope."""

import argparse
import asyncio
from collections.abc import Sequence
from itertools import chain

import numpy as np
from fulcrum.cache.v1 import cache_service_pb2 as pb
from numpy.typing import NDArray

from services.chassis.errors import Overloaded
from services.cli.asking import suite
from services.cli.client import Client
from services.cli.labelled import Logged, Pair, read_labelled

_NEIGHBOURS = 16  # as a lookup weighs
_MOST_TEXTS = 10_000  # the cache keeps what 3,000 of them teach
_MOST_BYTES = 1_000_000  # of texts, so that the request stays below what servers take
_BATCH = 32  # texts embedded at once
_BLOCK = 512

Vectors = NDArray[np.float32]


async def warm(asked: Client, arguments: argparse.Namespace) -> None:
    """Reads every row before anything is sent, in one request, so that a mistake changes nothing."""
    rows = read_labelled(arguments.file)
    texts = latest(rows)
    where = argparse.Namespace(**(vars(arguments) | {"address": arguments.encoder or arguments.address}))
    async with suite(where) as encoder:
        digest, vectors = await _embedded(encoder, texts)
    examples = await asyncio.to_thread(examples_of, rows, texts, vectors)
    scope = pb.Scope(tenant=arguments.tenant)
    found = await asked.warm_up(pb.WarmUpRequest(scope=scope, encoder_digest=digest, examples=examples))
    kinds = f"{found.labels_right} right, {found.labels - found.labels_right} wrong"
    print(f"{len(rows)} rows read, the latest {len(texts)} texts used: {found.labels} labels ({kinds})")
    if found.verifier_pairs:
        print(f"a verifier is trained on {found.verifier_pairs} pairs; it decides once it wins on the scope's verdicts")
    print(f"{arguments.tenant}'s scope is taught; it decides by them once they foresee its own verdicts")


class Labels:
    """What is known of texts: which answer each has, and which pairs of answers are known to differ."""

    def __init__(self, rows: Sequence[Pair | Logged]) -> None:
        self._parents: dict[str, str] = {}
        self._different: set[frozenset[str]] | None = None
        answers: dict[str, str] = {}
        apart: list[tuple[str, str]] = []
        for row in rows:
            if isinstance(row, Pair):
                one, other = self._root(row.one), self._root(row.other)
                if row.same:
                    self._parents[one] = other
                else:
                    apart.append((row.one, row.other))
            elif row.text not in self._parents:
                own = self._root(row.text)
                if row.answer is not None:
                    self._parents[own] = self._root(answers.setdefault(row.answer, row.text))
        if rows and isinstance(rows[0], Pair):
            self._different = {frozenset((self._root(one), self._root(other))) for one, other in apart}
        numbers: dict[str, int] = {}
        self.answers = {text: numbers.setdefault(self._root(text), len(numbers)) for text in self._parents}

    def verdict(self, one: str, other: str) -> "pb.Verdict":
        """Whether the answer of one is right for the other, as far as is known; in a log, everything is."""
        mine, its = self._root(one), self._root(other)
        if mine == its:
            return pb.VERDICT_RIGHT
        known = self._different is None or frozenset((mine, its)) in self._different
        return pb.VERDICT_WRONG if known else pb.VERDICT_UNSPECIFIED

    def _root(self, text: str) -> str:
        while self._parents.setdefault(text, text) != text:
            self._parents[text] = self._parents[self._parents[text]]
            text = self._parents[text]
        return text


def latest(rows: Sequence[Pair | Logged]) -> list[str]:
    """The latest texts of the rows that a request holds, each once, in their order."""
    taken, room = [], _MOST_BYTES
    for text in list(dict.fromkeys(chain.from_iterable(map(_texts, reversed(rows)))))[:_MOST_TEXTS]:
        room -= len(text.encode())
        if room < 0:
            break
        taken.append(text)
    return taken[::-1]


def examples_of(rows: Sequence[Pair | Logged], texts: Sequence[str], vectors: Vectors) -> list[pb.Example]:
    """Each text with the nearest of those before it.

    Args:
        rows: what is known of the texts.
        texts: as they were asked.
        vectors: theirs, of length 1, shape [texts, dimension]; zeros for one that the encoder cannot take whole.
    """
    labels, examples = Labels(rows), []
    for start in range(0, len(texts), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors[: start + _BLOCK].T
        for i, similarities in enumerate(block, start):
            examples.append(_example(texts, i, similarities[:i], labels))
    return examples


async def _embedded(encoder: Client, texts: Sequence[str]) -> tuple[str, Vectors]:
    """The encoder's digest, and vectors as `examples_of` takes them."""
    digest = ""
    vectors: list[Vectors] = []
    while len(vectors) < len(texts):
        try:
            some = await encoder.embed(texts[len(vectors) : len(vectors) + _BATCH])
        except Overloaded as error:  # requests come first
            await asyncio.sleep(error.retry_after_s or 1.0)
            continue
        for one in some:
            digest = one.encoder_digest
            vectors.append(np.frombuffer(one.values, "<f4") * (not one.truncated))
    return digest, np.array(vectors, np.float32)


def _texts(row: Pair | Logged) -> tuple[str, ...]:
    return (row.other, row.one) if isinstance(row, Pair) else (row.text,)


def _example(texts: Sequence[str], place: int, similarities: Vectors, labels: Labels) -> pb.Example:
    count = min(_NEIGHBOURS, place)
    nearest = np.argpartition(-similarities, count - 1)[:count] if count else np.zeros(0, np.int64)
    nearest = nearest[np.argsort(-similarities[nearest], kind="stable")]
    text = texts[place]
    return pb.Example(
        text=text,
        answer=labels.answers[text],
        nearest=[
            pb.ExampleNeighbour(
                example=int(one), similarity=float(similarities[one]), verdict=labels.verdict(text, texts[one])
            )
            for one in nearest
            if similarities[one] > 0
        ],
    )
