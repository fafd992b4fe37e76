"""How fast a process grows, told from samples so that outliers do not matter, and how fast it may seem to."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.processes import ServiceProcess

MIB = 2**20
HOUR_S = 3600.0
MOST_MIB_AN_HOUR = 8.0  # of resident memory, what a leak must stay below
# What allocators may still settle in the time that is looked at, however short it is: an arena that a new thread or a
# peak of concurrency opened once. Over half an hour, which a soak of an hour looks at, that is 8 MiB/h as well.
SETTLING_MIB = 4.0
# What may come in that time: tasks go up and down with what is under way, a few calls of several tasks each.
MOST_MORE = {"descriptors": 2.0, "threads": 2.0, "tasks": 10.0}


@dataclass(frozen=True)
class Sample:
    """One process at one moment, monotonic seconds."""

    at: float
    rss: float
    descriptors: float
    threads: float
    tasks: float


def sample(process: ServiceProcess, tasks: int) -> Sample:
    """What the process has now."""
    return Sample(time.monotonic(), process.rss_bytes(), process.descriptors(), process.threads(), tasks)


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs, by second (Theil 1950, Sen 1968): a third may be outliers."""
    when, what = np.asarray(at), np.asarray(values)
    first, second = np.triu_indices(len(when), 1)
    return float(np.median((what[second] - what[first]) / (when[second] - when[first])))


@dataclass(frozen=True)
class Growth:
    """A process over `seconds`: memory by the hour, the others as what came in that time."""

    name: str
    seconds: float
    rss_mib: float
    mib_an_hour: float
    more: dict[str, float]

    @classmethod
    def of(cls, name: str, samples: Sequence[Sample], since: float) -> "Growth":
        """Of the samples after `since`, monotonic seconds."""
        warm = [one for one in samples if one.at >= since]
        at = [one.at for one in warm]
        seconds = at[-1] - at[0]
        more = {what: slope(at, [getattr(one, what) for one in warm]) * seconds for what in MOST_MORE}
        by_hour = slope(at, [one.rss for one in warm]) * HOUR_S / MIB
        return cls(name, seconds, warm[-1].rss / MIB, by_hour, more)

    @property
    def allowed_mib_an_hour(self) -> float:
        """The bound for this length: 8 MiB/h from half an hour on, and 4 MiB in all where it is shorter."""
        return max(MOST_MIB_AN_HOUR, SETTLING_MIB * HOUR_S / self.seconds)

    @property
    def leaks(self) -> bool:
        """Whether it grows by more than it may."""
        many = any(count > MOST_MORE[what] for what, count in self.more.items())
        return many or self.mib_an_hour > self.allowed_mib_an_hour

    def __str__(self) -> str:
        more = ", ".join(f"{what} {count:+.1f}" for what, count in self.more.items())
        bound = f"{self.mib_an_hour:+.1f} of at most {self.allowed_mib_an_hour:.0f} MiB/h"
        return f"{self.name}: {self.rss_mib:.0f} MiB, {bound}, {more} in {self.seconds:.0f} s"
