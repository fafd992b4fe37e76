"""Whichever byte of whichever file changes, the cache starts, serves nothing wrong, and keeps nearly everything."""

import os
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from services.cache import nearest
from services.cache.embedding import Embedding
from services.cache.entry import Selector
from services.cache.normalise import exact_key
from services.cache.query import Hit
from services.cache.scope_memory import ScopeName
from tests.unit.cache.parts import DIGEST, HERE, Clock, ServeNearest, ask, keep, open_cache, opened, purged

FLIPS = int(os.environ.get("FULCRUM_FLIPS", "8"))
ENTRIES, LARGE, DIMENSION = 120, 64, 16
MOST = 8  # lookups: a frame of the journal may be the only place of four entries, each found by text and vector
FILES = {
    "cache.sqlite": "cache.sqlite",
    "its journal": "cache.sqlite-wal",
    "an index": "cache.sqlite.index/*.clusters",
    "its note": "cache.sqlite.index/*.json",
    "scopes": "learnt.sqlite",
    "their journal": "learnt.sqlite-wal",
}


def embedding(number: int) -> Embedding:
    """A unit vector of the entry's own."""
    vector = np.random.default_rng(number).standard_normal(DIMENSION)
    return Embedding((vector / np.linalg.norm(vector)).astype("<f4").tobytes(), DIMENSION, DIGEST, False)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a killed cache leaves: entries in the file and in its journal, an index, and what a scope has learnt."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("left") / "copy"
    sizes = nearest.SCANNED, nearest.LARGE
    nearest.SCANNED, nearest.LARGE = LARGE, LARGE
    try:
        cache = open_cache(source, kind=ServeNearest)
        for number in range(ENTRIES // 2):
            cache.store(keep(f"x{number}", f"answer {number}", embedding=embedding(number)))
        cache.close()
        cache = open_cache(source, kind=ServeNearest)
        for number in range(ENTRIES // 2, ENTRIES):
            cache.store(keep(f"x{number}", f"answer {number}", embedding=embedding(number)))
            cache.lookup(ask("y", embedding=embedding(number)))
        cache._index._maker.shutdown()
        cache._scopes._memory.write(ScopeName("acme", DIGEST))
        shutil.copytree(source, folder)
        cache.close()
    finally:
        nearest.SCANNED, nearest.LARGE = sizes
    return folder


@pytest.mark.parametrize("which", FILES)
def test_a_byte_of_any_file(left: Path, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the damage every text and every vector finds its own answer, or, for very few, none."""
    monkeypatch.setattr(nearest, "SCANNED", LARGE)
    monkeypatch.setattr(nearest, "LARGE", LARGE)
    rng = random.Random(which)
    for turn in range(FLIPS):
        folder = tmp_path / f"{turn}"
        shutil.copytree(left, folder)
        (path,) = folder.glob(FILES[which])
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        cache = open_cache(folder, Clock(), ServeNearest)
        missing = 0
        for number in range(ENTRIES):
            for asked in (ask(f"x{number}"), ask("another text", embedding=embedding(number))):
                found = cache.lookup(asked)
                right = isinstance(found, Hit) and found.entry.answer.text == f"answer {number}"
                missing += not right
                assert right or not isinstance(found, Hit) or found.similarity < 0.999
        assert missing <= MOST, f"{path.name}: {missing} of {2 * ENTRIES} lookups miss"
        assert cache.store(keep("new", embedding=embedding(ENTRIES)))
        cache.close()
        cache = open_cache(folder, Clock(), ServeNearest)
        assert isinstance(cache.lookup(ask("new")), Hit)
        cache.close()
        shutil.rmtree(folder)


def test_a_byte_of_an_index_of_the_file(tmp_path: Path) -> None:
    """Where a row or what an index says of it changed, every other entry is listed, replaced and purged as before."""
    source = tmp_path / "source"
    with opened(source) as cache:
        for number in range(ENTRIES):
            cache.store(keep(f"x{number}", f"answer {number}", ttl_ns=10**18))
    content = (source / "cache.sqlite").read_bytes()
    marks = [b"acme", HERE.fingerprint, *(re.escape(exact_key(HERE, f"x{number}")) for number in range(ENTRIES))]
    places = [match.start() for mark in marks for match in re.finditer(mark, content)]
    for turn, place in enumerate(random.Random(4).sample(places, 2 * FLIPS)):
        folder = tmp_path / f"{turn}"
        folder.mkdir()
        (folder / "cache.sqlite").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with opened(folder, Clock()) as cache:
            assert len(cache.kept.page("acme", 2**62, 2 * ENTRIES)) >= ENTRIES - 1
            for number in range(ENTRIES):
                cache.store(keep(f"x{number}", "another"))
            assert purged(cache, Selector("acme", fingerprint=HERE.fingerprint)) >= ENTRIES - 1
            assert cache.stats().entries == 0
