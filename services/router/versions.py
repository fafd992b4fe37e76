"""The versions of a fitted router: the file that serves, and beside it every one that was ever put in its place."""

import hashlib
import os
import shutil
from collections.abc import Sequence
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


class Versions:
    """Kept in `<serving file>.versions`; what serves changes by one rename, so that a reader finds one or the other."""

    def __init__(self, serving: Path) -> None:
        self._serving = serving
        self._folder = serving.with_name(serving.name + _FOLDER)

    def listed(self) -> Sequence[Version]:
        """All of them, the oldest first; one that serves and was put there by hand is not among them."""
        serving = _digest(self._serving) if self._serving.exists() else ""
        found = []
        for path in sorted(self._folder.glob("[0-9]*-*")):
            number, _, digest = path.stem.partition("-")
            withdrawn = path.suffix == _WITHDRAWN
            found.append(Version(int(number), digest, path, digest == serving and not withdrawn, withdrawn))
        last = max((one.number for one in found if one.serves), default=0)  # it may have come back after another
        return [replace(one, serves=one.number == last) for one in found]

    def publish(self, new: Path) -> Version:
        """Serves a copy of this file from now on; what served before is kept.

        Raises:
            ConfigError: it serves already, or a file cannot be read or written.
        """
        self.expect_another(new)
        try:
            if self._serving.exists() and not any(one.serves for one in self.listed()):
                self._keep(self._serving)
            self._serve(self._keep(new))
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be used: {error.strerror}") from error
        return self.listed()[-1]

    def expect_another(self, new: Path) -> None:
        """Sees to it that this file is not what serves, as publishing that, and going back from it, changes nothing.

        Raises:
            ConfigError: it is, or cannot be read.
        """
        try:
            digest, serving = _digest(new), _digest(self._serving) if self._serving.exists() else ""
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be read: {error.strerror}") from error
        if digest == serving:
            number = next((f"version {one.number} ({digest})" for one in self.listed() if one.serves), digest)
            raise ConfigError(f"{new}: serves already, as {number}, expected another")

    def rollback(self, default_model: str) -> Version:
        """Withdraws what serves, and serves the last before it that is still `usable`.

        Raises:
            ConfigError: there is none before, or none that is usable, or a file cannot be written.
        """
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

    def _keep(self, path: Path) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = max((one.number for one in self.listed()), default=0) + 1
        kept = self._folder / f"{number:06d}-{_digest(path)}{_KEPT}"
        shutil.copyfile(path, kept)
        return kept

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
