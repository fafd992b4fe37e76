"""A prompt's name in the log of outcomes: the same for repeats, another for each tenant, and nobody's to guess."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.chassis.settings import ConfigError
from services.router.prompt_digest import PromptDigest, kept_key


def test_repeats_have_one_name() -> None:
    """Casing and white space make no other prompt; other words, another tenant or another key do."""
    one, other = PromptDigest(b"k" * 32), PromptDigest(b"l" * 32)
    name = one.of("tenant", "What is 7 times 8?")
    assert name == one.of("tenant", "  what is\n7 times 8? ")
    others = {one.of("tenant", "What is 7 times 9?"), one.of("other", "What is 7 times 8?")}
    assert len({name, *others, other.of("tenant", "What is 7 times 8?")}) == 4
    assert len(name) == 32
    assert one.of("", "\ud800")


def test_the_key_is_made_once_and_its_owners_alone(tmp_path: Path) -> None:
    """Processes that begin together have one key, which stays, and which no other user reads."""
    log = tmp_path / "var" / "outcomes.jsonl"
    with ThreadPoolExecutor(8) as pool:
        (key,) = set(pool.map(lambda _: kept_key(log), range(8)))
    path = log.with_name("outcomes.jsonl.key")
    assert (kept_key(log), len(key)) == (key, 32)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(log.parent.iterdir()) == [path]


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    """A file that is damaged, or cannot be made, is named with what was expected."""
    (tmp_path / "log.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"log\.key: got 5 bytes, expected a key of 32"):
        kept_key(tmp_path / "log")
    with pytest.raises(ConfigError, match=r"router\.outcome_log: .*key: cannot be used: "):
        kept_key(tmp_path / "log.key" / "log")
