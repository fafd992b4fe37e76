"""The file: damaged or of another version it is set aside, another's it is refused, and trouble with it is an error."""

import os
import random
import shutil
import sqlite3
import tracemalloc
from pathlib import Path

import pytest

from services.cache.database import open_database
from services.cache.journal import Journal
from services.cache.query import Hit
from services.cache.salvage import PAGE
from services.chassis.errors import Unavailable
from services.chassis.settings import ConfigError
from tests.unit.cache.parts import ask, embedding, keep, open_cache, opened, served


def database(folder: Path) -> Path:
    return folder / "cache.sqlite"


def set_aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("cache.sqlite.aside-*"))


@pytest.mark.parametrize(("damage", "least"), [("header", 200), ("middle", 150), ("truncated", 60), ("version", 200)])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str, least: int) -> None:
    """The cache starts with what is whole of it beside the damaged file, works, and starts again."""
    with opened(tmp_path) as cache:
        ids = [cache.store(keep(f"x{number}", f"{number}" * 300, embedding=embedding())) for number in range(200)]
    path = database(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "header":
        content[:64] = bytes(64)
        path.write_bytes(content)
    elif damage == "middle":
        content[8192 : 8192 + 40960] = b"\xff" * 40960
        path.write_bytes(content)
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    for _ in range(2):
        with opened(tmp_path) as cache:
            assert cache.stats().entries >= least
            for number in range(200):
                found = cache.lookup(ask(f"x{number}"))
                if isinstance(found, Hit):
                    assert found.entry.answer.text == f"{number}" * 300
                    assert found.entry.entry_id == ids[number] or damage == "middle"  # the first part of ids is there
            assert cache.store(keep("x")) not in ids
            assert served(cache.lookup(ask("x"))) == "42"
    assert len([path for path in set_aside(tmp_path) if not path.name.endswith(("-wal", "-shm"))]) == 1


def damaged_somewhere(path: Path, rng: random.Random) -> bytes:
    """Flips one bit of a file and returns what it held."""
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
    path.write_bytes(changed)
    return whole


FLIPS = int(os.environ.get("FULCRUM_FLIPS", "20"))


@pytest.mark.parametrize("which", ["file", "journal"])
def test_a_flipped_bit_anywhere(tmp_path: Path, which: str) -> None:
    """Whichever bit changes, nothing wrong is served, the cache works, and all but a few entries are still there."""
    count, rng, left = 120, random.Random(which), []
    source = tmp_path / "source"
    cache = open_cache(source)
    for number in range(count):
        cache.store(keep(f"x{number}", f"{number} " * 50, embedding=embedding(), request_id=f"r{number}"))
    if which == "file":
        cache.close()
    names = ["cache.sqlite", "cache.sqlite-wal"]
    copies = {name: (source / name).read_bytes() for name in names if (source / name).exists()}
    for turn in range(FLIPS):
        folder = tmp_path / f"{turn}"
        folder.mkdir()
        for name, content in copies.items():
            (folder / name).write_bytes(content)
        damaged_somewhere(folder / (names[0] if which == "file" else names[1]), rng)
        with opened(folder) as again:
            found = [again.lookup(ask(f"x{number}")) for number in range(count)]
            hits = [(number, one.entry) for number, one in enumerate(found) if isinstance(one, Hit)]
            assert all(entry.answer.text == f"{number} " * 50 for number, entry in hits)
            near = again.lookup(ask("In other words", embedding=embedding(0.99)))
            assert not isinstance(near, Hit) or near.entry.text.startswith("x")
            left.append(len(hits))
            again.store(keep("new", embedding=embedding()))
            assert served(again.lookup(ask("new"))) == "42"
        shutil.rmtree(folder)
    if which == "journal":
        cache.close()
    print(f"{which}: {FLIPS} flips, entries left of {count}: least {min(left)}, mean {sum(left) / FLIPS:.2f}")
    assert min(left) >= count - 25
    assert sum(left) / FLIPS >= count - 2


def test_a_large_journal_takes_little_memory(tmp_path: Path) -> None:
    """It is read a frame at a time: what one transaction wrote may be as large as the file."""
    connection = open_database(database(tmp_path))
    connection.execute("BEGIN")
    for number in range(140):
        connection.execute(
            "INSERT INTO requests (tenant, request_id, entry_id) VALUES ('t', ?, ?)", (number, "x" * 8000)
        )
    connection.execute("COMMIT")
    journal = tmp_path / "cache.sqlite-wal"
    assert journal.stat().st_size > 1 << 20
    tracemalloc.start()
    try:
        assert not Journal(journal, PAGE).damaged
        assert tracemalloc.get_traced_memory()[1] < 1 << 18
    finally:
        tracemalloc.stop()
        connection.close()


def test_a_letter_of_the_schema(tmp_path: Path) -> None:
    """A table, index or column that has another name is as damaged as a page: all entries are brought over."""
    with opened(tmp_path / "source") as cache:
        cache.store(keep("x", embedding=embedding()))
    content = database(tmp_path / "source").read_bytes()
    for name in (b"vector BLOB", b"entries_by_age ON", b"entry_id TEXT", b"worth REAL"):
        folder = tmp_path / name.decode()
        folder.mkdir()
        database(folder).write_bytes(content.replace(name, bytes([name[0] ^ 1]) + name[1:]))
        with opened(folder) as cache:
            assert served(cache.lookup(ask("x", embedding=embedding()))) == "42"
            assert isinstance(cache.search(ask("Please, x", embedding=embedding())), Hit)
            assert cache.store(keep("y", embedding=embedding(), request_id="r"))


def test_a_head_without_its_page_is_no_damage(tmp_path: Path) -> None:
    """A kill between the head of a first transaction's last frame and its page, where an older page lies."""
    source, wal = tmp_path / "source", "cache.sqlite-wal"
    connection = open_database(database(source))
    insert = "INSERT INTO requests (tenant, request_id, entry_id) VALUES ('t', ?, '')"
    for number in range(40):
        connection.execute(insert, (str(number),))
    older = (source / wal).read_bytes()
    connection.execute("PRAGMA wal_checkpoint(RESTART)")
    copy = tmp_path / "cache.sqlite"
    copy.write_bytes(database(source).read_bytes())
    connection.execute(insert, ("new",))
    newer = (source / wal).read_bytes()
    connection.close()
    assert len(newer) < len(older), "a journal begun anew is not cut behind its first transaction"
    killed = bytearray(older)
    page = 4096
    killed[: len(newer) - page] = newer[:-page]
    (tmp_path / wal).write_bytes(killed)
    again = open_database(copy)
    assert again.execute("SELECT count(*) FROM requests").fetchone() == (40,)
    again.close()
    assert not set_aside(tmp_path)


def test_a_database_of_another_application_is_refused(tmp_path: Path) -> None:
    """It is somebody's data: nothing is renamed or written."""
    path = database(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="another application"):
        open_database(path)
    assert path.read_bytes() == before
    assert not set_aside(tmp_path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A mistyped path that leads to another file of the operator's leaves that file as it is."""
    path = database(tmp_path)
    path.write_text("cache:\n  capacity: 100\n" * 100)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"cache\.database: got .*not a database"):
        open_database(path)
    assert path.read_bytes() == before
    assert not set_aside(tmp_path)


def test_a_file_in_use_is_refused(tmp_path: Path) -> None:
    """A second process cannot share the file: its memory would not know of the first one's entries."""
    with opened(tmp_path), pytest.raises(ConfigError, match="no other process"):
        open_database(database(tmp_path))
    assert not set_aside(tmp_path)


def test_a_path_that_cannot_be_made(tmp_path: Path) -> None:
    """The error names the key and the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cache\.database"):
        open_database(tmp_path / "file" / "cache.sqlite")


def test_an_empty_file_and_a_new_folder(tmp_path: Path) -> None:
    """Both are good places to start."""
    database(tmp_path).touch()
    open_database(database(tmp_path)).close()
    open_database(tmp_path / "a" / "b" / "cache.sqlite").close()


def test_a_full_disk_is_an_error_that_changes_nothing(tmp_path: Path) -> None:
    """A store that cannot be written fails, keeps what was there, and later ones work."""
    with opened(tmp_path) as cache:
        cache.store(keep("x", "old"))
        pages = cache._store._session.connection.execute("PRAGMA page_count").fetchone()[0]
        cache._store._session.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable) as caught:
            cache.store(keep("x", "new" * 10_000))
        assert caught.value.field == "cache.database"
        assert served(cache.lookup(ask("x"))) == "old"
        assert cache.stats().entries == 1
        cache._store._session.connection.execute("PRAGMA max_page_count = 100000")
        cache.store(keep("x", "new"))
        assert served(cache.lookup(ask("x"))) == "new"
