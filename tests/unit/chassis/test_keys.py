"""API keys: what is kept of them, who they stand for, how they end, and what a bad file does."""

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.chassis import keys as keys_module
from services.chassis.call import Caller
from services.chassis.errors import InvalidField, NotFound, Unauthenticated, Unavailable
from services.chassis.key_file import KeyFile, KeyFileError, digest, id_of, read
from services.chassis.keys import KeyRing
from services.chassis.settings import ConfigError

FIELD = "metadata.authorization"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyFile:
    """A file of keys that does not exist yet; rings look at it at every call."""
    monkeypatch.setattr(keys_module, "_LOOK_EVERY_S", 0.0)
    return KeyFile(tmp_path / "folder" / "keys.json")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "keys.json"


def made(file: KeyFile, tenant: str = "acme", operator: bool = False, expires: datetime | None = None) -> str:
    return file.create(tenant, "ci", operator, expires)[1]


def refusal(ring: KeyRing, token: str) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        ring.caller(token, FIELD)
    assert (caught.value.reason, caught.value.field) == ("CREDENTIALS_INVALID", FIELD)
    assert not token or token not in str(caught.value)
    return caught.value


def test_a_key_stands_for_its_tenant(file: KeyFile, path: Path) -> None:
    """A key stands for the tenant it was made for, trusted where it is an operator's."""
    plain, operator = made(file), made(file, "ops", operator=True)
    ring = KeyRing(path)
    assert ring.caller(plain, FIELD) == Caller("acme", f"key {id_of(plain)}", False)
    assert ring.caller(operator, FIELD) == Caller("ops", f"key {id_of(operator)}", True)


def test_only_a_hash_is_kept(file: KeyFile, path: Path) -> None:
    """The file, readable by its owner alone, holds neither a key nor its secret; keys are 256 random bits apart."""
    tokens = [made(file) for _ in range(20)]
    content = path.read_text()
    secrets = {token.split("_")[2] for token in tokens}
    assert len(secrets) == len(tokens)
    assert all(len(secret) == 52 for secret in secrets)  # 5 bits a character
    assert not [secret for secret in secrets if secret in content]
    assert all(digest(token).hex() in content for token in tokens)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir() if "lock" not in entry.name] == ["keys.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("a" if token[-1] != "a" else "b"),
        lambda token: token[:-1],
        lambda token: token + "a",
        lambda token: token.upper(),
        lambda token: token.replace("fk_", "fk-"),
        lambda token: "fk_" + "a" * 16 + token[19:],
        lambda token: digest(token).hex(),
        lambda token: f"fk_{id_of(token)}_{digest(token).hex()}",
        lambda token: "",
        lambda token: "fk__",
        lambda token: token + "\ud800",
    ],
)
def test_what_is_almost_a_key_is_unknown(file: KeyFile, path: Path, change: object) -> None:
    """Anything but the very key is unknown, and the refusal does not tell which part of it was right."""
    token = made(file)
    assert callable(change)
    assert refusal(KeyRing(path), change(token)).value == "an unknown key"


def test_keys_end(file: KeyFile, path: Path) -> None:
    """A key ends when it expires or is revoked, at once or later; the refusal names the key by its id."""
    now = datetime.now(UTC)
    expiring, revoked, rotated = made(file, expires=now + timedelta(hours=1)), made(file), made(file)
    file.revoke(id_of(revoked))
    file.revoke(id_of(rotated), now + timedelta(hours=24))
    clock = now.timestamp() + 1
    ring = KeyRing(path, lambda: clock)
    assert ring.caller(expiring, FIELD)
    assert ring.caller(rotated, FIELD)
    assert refusal(ring, revoked).value == f"key {id_of(revoked)}"
    clock += 3600
    assert refusal(ring, expiring).expected == "a key that has not expired"
    assert ring.caller(rotated, FIELD)
    clock += 23 * 3600
    assert refusal(ring, rotated).expected == "a key that is not revoked"
    wrong = rotated[:-4] + ("aaaa" if not rotated.endswith("aaaa") else "bbbb")
    assert refusal(ring, wrong).value == "an unknown key"  # who lacks the secret learns nothing of the key


def test_a_revocation_is_not_put_off(file: KeyFile) -> None:
    """Revoking again, later, does not give a key back; revoking sooner ends it sooner."""
    now = datetime.now(UTC)
    identity = id_of(made(file))
    file.revoke(identity, now + timedelta(hours=2))
    assert file.revoke(identity, now + timedelta(hours=9)).revoke_time == now + timedelta(hours=2)
    assert file.revoke(identity, now).revoke_time == now
    with pytest.raises(NotFound, match="nobody"):
        file.revoke("nobody")


def test_a_changed_file_is_read_again(file: KeyFile, path: Path) -> None:
    """Keys made and revoked while a ring is in use count at once."""
    first = made(file)
    ring = KeyRing(path)
    second = made(file, "globex")
    assert ring.caller(second, FIELD).tenant == "globex"
    file.revoke(id_of(first))
    refusal(ring, first)
    assert ring.caller(second, FIELD)


def test_a_look_is_taken_within_half_a_second(path: Path) -> None:
    """Between looks the file is let be, so that a call costs no system call."""
    file = KeyFile(path)
    token = made(file)
    ring = KeyRing(path)
    assert ring.caller(token, FIELD)
    path.unlink()
    with capture_logs() as logs:
        assert ring.caller(token, FIELD)
    assert logs == []
    assert keys_module._LOOK_EVERY_S <= 0.5


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: No such file"),
        (b"{", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "is not a file of keys"),
        (b'{"version": 2, "keys": []}', "version: Input should be 1"),
        (b'{"version": 1, "keys": [{"id": "fk_hidden_secret"}]}', "keys.0.id"),
        (b'{"version": 1, "keys": [], "more": 1}', "more: Extra inputs"),
    ],
)
def test_a_bad_file(file: KeyFile, path: Path, content: bytes | None, problem: str) -> None:
    """A bad file is a mistake at the start and quoted nowhere; one that turns bad leaves the last good keys."""
    token = made(file)
    good = path.read_bytes()
    ring = KeyRing(path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with capture_logs() as logs:
        for _ in range(3):
            assert ring.caller(token, FIELD).tenant == "acme"
    (line,) = logs  # once, however many calls come
    assert line["log_level"] == "error"
    assert problem in line["problem"]
    assert "secret" not in line["problem"]
    with pytest.raises(ConfigError, match=r"server\.identity\.keys") as caught:
        KeyRing(path)
    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)
    if content is not None:
        with pytest.raises(KeyFileError):
            file.create("acme", "", False, None)
        assert path.read_bytes() == content  # what is not understood is not written over
    path.write_bytes(good)
    file.revoke(id_of(token))
    refusal(ring, token)


def test_no_key_counts_for_long_without_its_file(file: KeyFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the last good keys may have been revoked: after a while none counts, until the file is good again."""
    token = made(file)
    ring, content = KeyRing(path), path.read_bytes()
    path.write_text("{")
    assert ring.caller(token, FIELD)
    monkeypatch.setattr(keys_module, "_LAST_GOOD_S", 0.0)
    with pytest.raises(Unavailable, match=r"server\.identity\.keys"):
        ring.caller(token, FIELD)
    path.write_bytes(content)
    assert ring.caller(token, FIELD)


def test_a_file_keeps_its_owner(file: KeyFile, path: Path) -> None:
    """A server that runs as somebody else can read the next file as it could the last one."""
    made(file)
    path.chmod(0o640)
    if os.getuid() == 0:
        os.chown(path, 0, 65_534)
    before = path.stat()
    made(file)
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode) == (
        before.st_uid,
        before.st_gid,
        before.st_mode,
    )


def test_an_owner_that_cannot_be_kept_changes_nothing(
    file: KeyFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather no new file than one that the server cannot read, and so a revoked key that counts."""
    token = made(file)
    before = path.read_bytes()

    def refuses(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuses)
    with pytest.raises(KeyFileError, match="owner"):
        file.revoke(id_of(token))
    assert path.read_bytes() == before
    assert sorted(one.name for one in path.parent.iterdir()) == [".keys.json.lock", "keys.json"]


def test_a_revocation_that_is_written_holds_whatever_the_clock(file: KeyFile, path: Path) -> None:
    """A server whose clock is behind refuses a key that was revoked before the file was written."""
    token = made(file)
    file.revoke(id_of(token))
    behind = KeyRing(path, clock=lambda: 0.0)
    assert "revoked" in str(refusal(behind, token))


def test_an_id_twice_is_a_mistake(file: KeyFile, path: Path) -> None:
    """Two keys of one id are refused: one would hide the other."""
    made(file)
    content = json.loads(path.read_text())
    content["keys"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(KeyFileError, match="an id twice"):
        read(path)


@pytest.mark.parametrize("tenant", ["", " acme", "acme\n", "a\x00", "x" * 201])
def test_tenants_have_readable_names(file: KeyFile, tenant: str) -> None:
    """A tenant is 1 to 200 printable characters."""
    with pytest.raises(InvalidField, match="tenant"):
        file.create(tenant, "", False, None)


def test_writers_do_not_lose_one_anothers_keys(file: KeyFile, path: Path) -> None:
    """Keys made at the same time are all kept, and a reader never meets half a file."""
    made(file)
    broken: list[KeyFileError] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                read(path)
            except KeyFileError as error:
                broken.append(error)

    reader = threading.Thread(target=look)
    reader.start()
    writers = [threading.Thread(target=lambda: [made(file) for _ in range(5)]) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert len(read(path)) == 41
    assert broken == []
