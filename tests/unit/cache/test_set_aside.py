"""What was set aside of damaged files: bounded in number, bytes and time, and gone with any purge."""

import time
from pathlib import Path

import pytest

from services.cache.database import open_database
from services.cache.entry import Selector
from services.cache.set_aside import SetAside
from services.chassis.errors import Unavailable
from tests.unit.cache.parts import HERE, Clock, ask, keep, opened, purged, served

WEEK_S = 7 * 24 * 3600


def damaged(folder: Path, which: str = "cache.sqlite") -> None:
    path = folder / which
    content = bytearray(path.read_bytes())
    content[8192 : 8192 + 8192] = b"\xff" * 8192
    path.write_bytes(content)


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "aside" in path.name or "kept" in path.name)


def readable(folder: Path, secret: str) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def fill(folder: Path, clock: Clock | None = None) -> None:
    with opened(folder, clock) as cache:
        for number in range(100):
            cache.store(keep(f"secret {number}", f"secret {number} " * 50))


@pytest.mark.parametrize(
    "selector",
    [
        Selector("acme"),
        Selector("acme", principal=""),
        Selector("acme", created_from_ns=0),
        Selector("acme", fingerprint=HERE.fingerprint),
    ],
    ids=["all", "principal", "time", "fingerprint"],
)
def test_a_purge_leaves_no_prompt_in_what_was_set_aside(tmp_path: Path, selector: Selector) -> None:
    """Nor in the journal beside it, nor in what a killed process left, for whichever reason something is purged."""
    fill(tmp_path)
    damaged(tmp_path)
    (tmp_path / "cache.sqlite-wal-kept").write_bytes(b"secret 1")
    with opened(tmp_path) as cache:
        assert readable(tmp_path, "secret"), "nothing was set aside"
        purged(cache, selector)
        assert not readable(tmp_path, "secret")
    assert not beside(tmp_path)


def test_a_purge_of_nothing_removes_it_too(tmp_path: Path) -> None:
    """What was damaged may hold an entry that the cache knows no more."""
    fill(tmp_path)
    damaged(tmp_path)
    with opened(tmp_path) as cache:
        assert purged(cache, Selector("acme", entry_id="unknown")) == 0
        assert not beside(tmp_path)


def test_one_is_kept(tmp_path: Path) -> None:
    """However often a file is damaged, the newest one alone stays, with what was set aside by earlier builds gone."""
    for stamp in (1, 2, 3):
        (tmp_path / f"cache.sqlite.aside-{stamp}").write_text("old")
        (tmp_path / f"cache.sqlite.aside-{stamp}-wal").write_text("old")
    with opened(tmp_path):
        assert beside(tmp_path) == ["cache.sqlite.aside-3", "cache.sqlite.aside-3-wal"]
    fill(tmp_path)
    for _ in range(3):
        damaged(tmp_path)
        with opened(tmp_path):
            assert len(beside(tmp_path)) == 1
    assert (tmp_path / beside(tmp_path)[0]).stat().st_size <= 2 * (tmp_path / "cache.sqlite").stat().st_size


def test_it_goes_after_a_week(tmp_path: Path) -> None:
    """With the next answer that is kept, as an entry that expired does."""
    fill(tmp_path)
    damaged(tmp_path)
    clock = Clock(time.time_ns())
    with opened(tmp_path, clock) as cache:
        cache.store(keep("x"))
        assert beside(tmp_path)
        clock.advance(WEEK_S + 60)
        cache.store(keep("y"))
        assert not beside(tmp_path)
        assert served(cache.lookup(ask("y"))) == "42"


def test_another_files_are_let_be(tmp_path: Path) -> None:
    """What was set aside of a database whose name begins alike is that one's."""
    other = tmp_path / "cache.sqlite2.aside-1"
    other.write_text("x")
    SetAside(tmp_path / "cache.sqlite").remove()
    assert other.exists()


def test_what_cannot_be_removed_fails_the_purge(tmp_path: Path) -> None:
    """A purge never says that it is done while what it should remove can be read."""
    (tmp_path / "cache.sqlite.aside-1").mkdir()
    with opened(tmp_path) as cache, pytest.raises(Unavailable, match="set aside"):
        purged(cache, Selector("acme"))


def test_a_process_that_was_killed_as_it_set_a_journal_aside(tmp_path: Path) -> None:
    """The next one starts: the second name of the journal is in nobody's way."""
    connection = open_database(tmp_path / "cache.sqlite")
    connection.execute("INSERT INTO requests (tenant, request_id, entry_id) VALUES ('t', 'r', '')")
    content = bytearray((tmp_path / "cache.sqlite-wal").read_bytes())
    main = (tmp_path / "cache.sqlite").read_bytes()
    connection.close()
    content[-2000] ^= 1
    (tmp_path / "cache.sqlite").write_bytes(main)
    (tmp_path / "cache.sqlite-wal").write_bytes(content)
    (tmp_path / "cache.sqlite-wal-kept").write_bytes(content)
    open_database(tmp_path / "cache.sqlite").close()
    assert [name for name in beside(tmp_path) if "kept" in name] == []
