"""Leases on prompts that somebody executes, so that twins elsewhere wait for that answer and make none of their own."""

import secrets
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.cache.decision import MEASURED_WRONG_SHARE
from services.cache.entry import Partition
from services.cache.language import is_english
from services.cache.normalise import normalise
from services.cache.query import Audit, Hit, Miss, Query, Wait
from services.cache.settings import CacheSettings
from services.cache.sketch import Sketch, sketch
from services.cache.vetoes import veto

_MOST = 10_000  # held at once; a miss beyond is given none
_COMPARED = 128  # the newest of a partition, with which a prompt is compared
_LONG = 20_000  # characters from which on a twin is the very same text, as normalising takes a millisecond
_SEARCH_S = 0.005  # until a search that is under way has ended
_COUNTED = "+"  # behind the lease's id
_SOONEST_S, _LATEST_S = 0.02, 0.5  # to look again after a quarter of the time that the execution has lasted

Found: TypeAlias = Hit | Miss | Audit
_Key: TypeAlias = tuple[Partition, str, int]


@dataclass(eq=False)
class Lease:
    """One prompt that somebody looks for and, once `granted_as` names the lookup that missed, executes."""

    lease_id: str
    key: _Key
    query: Query
    begun: float
    lasts_s: float
    lapses: float = 0.0
    granted_as: str = ""

    @cached_property
    def vector(self) -> NDArray[np.float32] | None:
        """The prompt's embedding, None where only the same text is a twin of it."""
        embedding, text = self.query.embedding, self.query.text
        alike = embedding is not None and not embedding.truncated and is_english(text[:_LONG])
        return embedding.vector if alike and embedding is not None else None

    @property
    def encoder(self) -> tuple[str, int]:
        """What has to be the same for two vectors to be compared."""
        embedding = self.query.embedding
        return (embedding.encoder_digest, embedding.dimension) if embedding else ("", 0)

    @cached_property
    def sketch(self) -> Sketch:
        """What has to agree with a twin's."""
        return sketch(self.query.text)

    def is_twin(self, other: "Lease", min_similarity: float) -> bool:
        """Whether the two would share an answer by the rule for new scopes."""
        if self.vector is None or other.vector is None or self.key[1] != other.key[1]:
            return False
        if self.encoder != other.encoder or float(self.vector @ other.vector) < min_similarity:
            return False
        return veto(self.sketch, other.sketch) is None


def is_counted(waited_for: str) -> bool:
    """Whether who was told to wait for this lease is on a scope's books already, as it had looked before."""
    return waited_for.endswith(_COUNTED)


class Leases:
    """Those held now; for one thread.

    They are in memory alone: where the cache restarts, everyone executes. Whoever holds one renews it or it lapses,
    so that a holder that is killed keeps nobody waiting for longer than `lease_s`.
    """

    def __init__(self, settings: CacheSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._held: OrderedDict[str, Lease] = OrderedDict()  # the next to lapse first
        self._by_key: dict[_Key, Lease] = {}
        self._by_lookup: dict[str, Lease] = {}
        self._in_partition: defaultdict[Partition, dict[str, Lease]] = defaultdict(dict)

    async def look(
        self, query: Query, waited_for: str, look: Callable[[], Awaitable[Found]]
    ) -> tuple[Found | Wait, Lease | None]:
        """What `look` finds and, on a miss, the lease on it; Wait instead where a twin's is held.

        Who has `waited_for` a lease waits for that one alone: the next who misses has a lease, everyone else none.
        A would-be hit that chance had audited is no miss: its twins are served. Where every one is, they wait as well.
        """
        before = self._before(query, waited_for)
        if isinstance(before, Wait):
            return before, None
        try:
            found = await look()
            missed = isinstance(found, Miss) or (isinstance(found, Audit) and found.propensity >= 1)
            twin = self._twin(before) if before and missed and not waited_for else None
            if before is None or not missed or twin is not None:
                self._end(before)
                return (self._wait(twin, counted=True) if twin else found), None
        except BaseException:
            self._end(before)
            raise
        if before.lease_id in self._held:
            before.granted_as = found.lookup_id
            self._by_lookup[found.lookup_id] = before
        return found, before

    def hold(self, tenant: str, lease_id: str, end: bool) -> bool:
        """Renews a lease, or ends it; tells whether it is held."""
        self._drop_lapsed()
        lease = self._held.get(lease_id)
        if lease is None or lease.key[0].tenant != tenant:
            return False
        if end:
            self._end(lease)
            return False
        lease.lapses = self._clock() + lease.lasts_s
        self._held.move_to_end(lease_id)
        return True

    def stored(self, tenant: str, lookup_id: str) -> None:
        """Ends the lease, if any, of a lookup whose answer was stored."""
        lease = self._by_lookup.get(lookup_id)
        if lease is not None and lease.key[0].tenant == tenant:
            self._end(lease)

    def __len__(self) -> int:
        return len(self._held)

    def _before(self, query: Query, waited_for: str) -> Lease | Wait | None:
        """A lease not granted yet, so that of twins at the same moment one alone looks; a twin's; None for no more."""
        self._drop_lapsed()
        new = self._new(query)
        known = self._held.get(waited_for.removesuffix(_COUNTED))
        if known is not None and known.key[:2] == new.key[:2]:
            return self._wait(known, is_counted(waited_for))
        twin = self._by_key.get(new.key) or self._twin(new)
        if twin is not None:
            return None if waited_for else self._wait(twin, counted=False)
        if len(self._held) >= _MOST:
            return None
        self._held[new.lease_id] = self._by_key[new.key] = self._in_partition[query.partition][new.lease_id] = new
        return new

    def _new(self, query: Query) -> Lease:
        partition, now = query.partition, self._clock()
        whose = query.principal if self._settings.of(partition.tenant).confirmed_for_trust else ""
        text = query.text if len(query.text) > _LONG else normalise(query.text)
        key = partition, whose, hash(text)
        lasts_s = self._settings.lease_s
        return Lease(secrets.token_hex(8), key, query, now, lasts_s, now + lasts_s)

    def _twin(self, asked: Lease) -> Lease | None:
        """One that is executed and whose answer would do."""
        bound = self._settings.max_wrong_share if asked.query.max_wrong_share is None else asked.query.max_wrong_share
        known = self._in_partition.get(asked.key[0])
        if not known or bound < MEASURED_WRONG_SHARE:
            return None
        newest = islice(reversed(known.values()), _COMPARED)
        near = (one for one in newest if one.granted_as and one is not asked)
        return next((one for one in near if asked.is_twin(one, self._settings.min_similarity)), None)

    def _wait(self, lease: Lease, counted: bool) -> Wait:
        lasted = self._clock() - lease.begun
        delay = min(max(lasted / 4, _SOONEST_S), _LATEST_S) if lease.granted_as else _SEARCH_S
        return Wait(lease.lease_id + _COUNTED * counted, delay)

    def _drop_lapsed(self) -> None:
        now = self._clock()
        while self._held:
            oldest = next(iter(self._held.values()))
            if oldest.lapses > now:
                return
            self._end(oldest)

    def _end(self, lease: Lease | None) -> None:
        if lease is None or self._held.pop(lease.lease_id, None) is None:
            return
        del self._by_key[lease.key]
        self._by_lookup.pop(lease.granted_as, None)
        partition = lease.key[0]
        del self._in_partition[partition][lease.lease_id]
        if not self._in_partition[partition]:
            del self._in_partition[partition]
