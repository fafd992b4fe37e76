"""The versions of a fitted router: the file that serves, and beside it every one that was ever put in its place."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.chassis.settings import ConfigError
from services.router.artefact import Artefact, load_artefact

_FOLDER, _KEPT, _WITHDRAWN = ".versions", ".safetensors", ".withdrawn"


@dataclass(frozen=True, slots=True)
class Version:
    """The `number`th of them, the beginning of its file's digest, and whether it serves now or was taken back."""

    number: int
    digest: str
    path: Path
    serves: bool
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """Beginnings of the digests of a new file and of what serves, empty where nothing does, as they were judged.

    `again` is whether the new one may be one that was withdrawn.
    """

    new: str
    serving: str
    again: bool = False


class Versions:
    """Kept in `<serving file>.versions`; what serves changes by one rename, so that a reader finds one or the other."""

    def __init__(self, serving: Path) -> None:
        self._serving = serving
        self._folder = serving.with_name(serving.name + _FOLDER)

    def listed(self) -> Sequence[Version]:
        """All of them, the oldest first; one that serves and was put there by hand is not among them."""
        serving, found = self._served(), []
        for path in sorted(self._folder.glob("[0-9]*-*")):
            number, _, digest = path.stem.partition("-")
            withdrawn = path.suffix == _WITHDRAWN
            found.append(Version(int(number), digest, path, digest == serving and not withdrawn, withdrawn))
        last = max((one.number for one in found if one.serves), default=0)  # it may have come back after another
        return [replace(one, serves=one.number == last) for one in found]

    def publish(self, new: Path, judged: Judged | None = None) -> Version:
        """Serves a copy of this file from now on; what served before is kept.

        Args:
            new: the file.
            judged: what `expect_another` said of both before they were compared, where they were.

        Raises:
            ConfigError: it serves already, was withdrawn or is not what was judged, or a file cannot be used.
        """
        judged = judged or self.expect_another(new)
        try:
            with self._alone():
                if self._served() != judged.serving:
                    expected = f"what {new} was compared with: publish it again"
                    raise ConfigError(f"{self._serving}: was replaced meanwhile, expected {expected}")
                self._expect_standing(new, judged)
                copy = self._copied(new)
                if _digest(copy) != judged.new:
                    copy.unlink()
                    raise ConfigError(f"{new}: was replaced meanwhile, expected what was judged: publish it again")
                if judged.serving and not any(one.serves for one in self.listed()):
                    self._keep(self._copied(self._serving, ".served"))
                self._serve(self._keep(copy))
                return self.listed()[-1]
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be used: {error.strerror}") from error

    def expect_another(self, new: Path, again: bool = False) -> Judged:
        """Sees to it that this file is not what serves, as publishing that, and going back from it, changes nothing.

        Nor one that was withdrawn, unless it may serve `again`. To be asked before either is read.

        Raises:
            ConfigError: it is, or cannot be read.
        """
        try:
            judged = Judged(_digest(new), self._served(), again)
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error
        if judged.new == judged.serving:
            number = next((f"version {one.number} ({one.digest})" for one in self.listed() if one.serves), judged.new)
            raise ConfigError(f"{new}: serves already, as {number}, expected another")
        self._expect_standing(new, judged)
        return judged

    def _expect_standing(self, new: Path, judged: Judged) -> None:
        """Raises ConfigError where this file was withdrawn and has not come back since, unless it may serve again."""
        last = next((one for one in reversed(self.listed()) if one.digest == judged.new), None)
        if last and last.withdrawn and not judged.again:
            expected = "another, or `publish --again` where what spoke against it is mended"
            raise ConfigError(f"{new}: was withdrawn by a rollback, as version {last.number}, expected {expected}")

    def rollback(self, default_model: str) -> Version:
        """Withdraws what serves, and serves the last before it that is still `usable`.

        Raises:
            ConfigError: there is none before, or none that is usable, or a file cannot be written.
        """
        with self._alone():
            return self._back(default_model)

    def _back(self, default_model: str) -> Version:
        standing = [one for one in self.listed() if not one.withdrawn]
        place = next((place for place, one in enumerate(standing) if one.serves), None)
        if place is None and not self._serving.exists():
            raise ConfigError(f"{self._serving}: is not there, expected one that was published")
        if place is None:
            expected = "one that `fulcrum router publish` put there, which keeps what was before"
            raise ConfigError(f"{self._serving}: got a file put there by hand, expected {expected}")
        if place == 0:
            raise ConfigError(f"{self._serving}: version {standing[0].number} is the first, expected one before it")
        now, before = standing[place], self._last_usable(standing[:place], default_model)
        try:
            self._serve(before.path)
            now.path.rename(now.path.with_suffix(_WITHDRAWN))
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be written: {error.strerror}") from error
        return next(one for one in self.listed() if one.serves)

    def _last_usable(self, earlier: Sequence[Version], default_model: str) -> Version:
        """The last of them: an older format, a damaged file or another default model would end what serves."""
        problems = []
        for one in reversed(earlier):
            try:
                usable(one.path, default_model)
            except ConfigError as error:
                problems.append(str(error))
            else:
                return one
        raise ConfigError(f"{self._serving}: no version before can be used: {'; '.join(problems)}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While nobody else publishes or goes back; ConfigError where that cannot be seen to."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / ".lock").open("a")
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be used: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _served(self) -> str:
        return _digest(self._serving) if self._serving.exists() else ""

    def _copied(self, path: Path, name: str = ".new") -> Path:
        copy = self._folder / name
        shutil.copyfile(path, copy)
        return copy

    def _keep(self, copy: Path) -> Path:
        """The next version is this copy, which goes by another name from now on."""
        number = max((one.number for one in self.listed()), default=0) + 1
        return copy.rename(self._folder / f"{number:06d}-{_digest(copy)}{_KEPT}")

    def _serve(self, path: Path) -> None:
        partial = self._serving.with_name(self._serving.name + ".partial")
        shutil.copyfile(path, partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(self._serving)


def usable(path: Path, default_model: str) -> Artefact:
    """A fitted router that a suite with this default model would serve.

    Raises:
        ConfigError: it cannot be read, or was fitted against another default model.
    """
    artefact = load_artefact(path)
    if artefact.facts.default_model != default_model:
        got, expected = artefact.facts.default_model, f"{default_model}, the catalogue's default"
        raise ConfigError(f"{path}: default_model: got {got}, expected {expected}")
    return artefact


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]
