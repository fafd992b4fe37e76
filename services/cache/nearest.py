"""What every index of nearest neighbours does, whatever its method, and which sizes suit which method."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

SCANNED = 2000  # vectors from which a scan of codes before takes less than it saves
LARGE = 20_000  # and from which clusters do
GROWN = 4  # times as many vectors as an index was made for, from which on it is made anew


@dataclass(frozen=True, slots=True)
class Vectors:
    """Sequences, int64 [n], and their unit vectors, float32 [n, dimension]."""

    sequences: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float32]


class Nearest(Protocol):
    """An index of unit vectors by inner product; not for use by two threads at once."""

    @property
    def kind(self) -> str:
        """Of the file that `write` writes, by which whoever reads it knows how."""

    @property
    def costly(self) -> bool:
        """Whether it takes so long to make that it is worth a file."""

    @property
    def made_for(self) -> int:
        """Vectors that it was made for, where that tells how far it may grow."""

    @property
    def outgrown(self) -> bool:
        """Whether there are so many vectors by now that another index would do better."""

    @property
    def bytes(self) -> int:
        """Bytes of the host's memory, about."""

    def __len__(self) -> int:
        """How many vectors it holds, those among them that are about to be dropped."""

    def search(self, vector: npt.NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """At most `k` (sequence, cosine similarity), nearest first."""

    def add(self, added: Vectors) -> None:
        """Adds vectors whose sequences are new."""

    def remove(self, sequences: npt.NDArray[np.int64]) -> None:
        """Removes vectors, known or not."""

    def vectors(self) -> Vectors:
        """All vectors, as it holds them."""

    def copy(self) -> "Nearest":
        """One for the host, that another thread may write."""

    def write(self, path: Path) -> None:
        """Writes one for the host to a file. Raises OSError or RuntimeError where it cannot."""
