"""`fulcrum cache warm`: makes examples, each with its nearest earlier ones, of labelled texts, and teaches a scope."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from fulcrum.cache.v1 import cache_service_pb2 as pb
from numpy.typing import NDArray

from services.cli.asking import suite
from services.cli.labelled import Logged, Pair, read_labelled
from services.executor.sentence_encoder import SentenceEncoder, Tokens

_NEIGHBOURS = 16  # as a lookup weighs
_MOST_TEXTS = 10_000  # the latest; the cache keeps what 3,000 of them teach
_MOST_CHARACTERS = 1_000_000  # so that the request stays below what servers take
_BATCH, _BLOCK = 64, 512

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]


async def warm(arguments: argparse.Namespace) -> None:
    """Reads every row before anything is sent, in one request, so that a mistake changes nothing."""
    rows = read_labelled(arguments.file)
    encoder = await asyncio.to_thread(SentenceEncoder, arguments.encoder, arguments.precision, 1)
    examples = await asyncio.to_thread(examples_of, rows, encode_with(encoder))
    scope = pb.Scope(tenant=arguments.tenant)
    async with suite(arguments) as asked:
        found = await asked.warm_up(pb.WarmUpRequest(scope=scope, encoder_digest=encoder.digest, examples=examples))
    kinds = f"{found.labels_right} right, {found.labels - found.labels_right} wrong"
    print(f"{len(rows)} rows read, the latest {len(examples)} texts used: {found.labels} labels ({kinds})")
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


def examples_of(rows: Sequence[Pair | Logged], encode: Encode) -> list[pb.Example]:
    """The latest texts of the rows, each once, with the nearest of those before it."""
    labels = Labels(rows)
    order = list(dict.fromkeys(chain.from_iterable(map(_texts, reversed(rows)))))
    taken, room = [], _MOST_CHARACTERS
    for text in order[:_MOST_TEXTS]:
        room -= len(text.encode())
        if room < 0:
            break
        taken.append(text)
    taken.reverse()
    vectors, examples = encode(taken), []
    for start in range(0, len(taken), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors[: start + _BLOCK].T
        for i, similarities in enumerate(block, start):
            examples.append(_example(taken, i, similarities[:i], labels))
    return examples


def encode_with(encoder: SentenceEncoder) -> Encode:
    """Texts to unit vectors `[texts, dimension]`; zeros for one beyond the encoder's window, which is near nothing."""

    def encode(texts: Sequence[str]) -> Vectors:
        tokens = [encoder.tokenise(text) for text in texts]
        vectors = np.zeros((len(texts), encoder.dimension), np.float32)
        by_length: dict[int, list[int]] = {}
        for place, one in enumerate(tokens):
            if one.count == len(one.ids):
                by_length.setdefault(one.count, []).append(place)
        for places in by_length.values():
            for start in range(0, len(places), _BATCH):
                some = places[start : start + _BATCH]
                rows: Sequence[Tokens] = [tokens[place] for place in some]
                vectors[some] = encoder.encode(rows)
        return vectors

    return encode


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
