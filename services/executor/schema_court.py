"""Which schemas answers may be held to: each new one is tried in a process that is ended where it takes too long."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass

from services.chassis.errors import InvalidField, Overloaded
from services.executor.constraint import FIELD

LONGEST_TRIAL_S = 1.0
DEEPEST = 32
_PROCESSES = 2
_MOST_WAITING, _MOST_OF_A_TENANT = 256, 8
_REMEMBERED = 1_000
_HELD_AGAINST_S = 60.0
_BEGUN_WITHIN_S = 30.0


class SchemaCourt:
    """One for all models of an executor; its processes begin with the first schema. One event loop uses it."""

    def __init__(self) -> None:
        self._verdicts: OrderedDict[str, str] = OrderedDict()
        self._costly_until: OrderedDict[tuple[str, str], float] = OrderedDict()  # monotonic seconds
        self._trials = [_Trial() for _ in range(_PROCESSES)]
        self._free = asyncio.Semaphore(_PROCESSES)
        self._waiting: Counter[str] = Counter()  # by tenant
        self._tenants: dict[str, asyncio.Lock] = {}

    async def check(self, schema: str, tenant: str) -> None:
        """Returns where a schema may be used; a tenant's schemas are tried one after the other.

        Raises:
            InvalidField: it is no schema, needs what is not supported, or is too costly.
            Overloaded: too many wait.
        """
        if schema not in self._verdicts:
            if (depth := _depth(schema)) > DEEPEST:
                raise InvalidField(FIELD, f"brackets {depth} deep", f"at most {DEEPEST}")
            await self._try(schema, tenant)
        if self._costly(schema, tenant):
            expected = "a JSON schema that can be held to: it takes too long, or too much memory, to find out"
            raise InvalidField(FIELD, f"{len(schema)} characters", expected)
        self._verdicts.move_to_end(schema)  # there is no wait in which it might have gone
        if why := self._verdicts[schema]:
            raise InvalidField(FIELD, f"{len(schema)} characters", f"a JSON schema that can be held to: {why}")

    async def close(self) -> None:
        """Ends the processes."""
        for trial in self._trials:
            await trial.end()

    async def _try(self, schema: str, tenant: str) -> None:
        own = self._waiting[tenant]
        if own >= _MOST_OF_A_TENANT or self._waiting.total() >= _MOST_WAITING:
            found = f"{own} of this tenant waiting, {self._waiting.total()} in all"
            expected = f"at most {_MOST_OF_A_TENANT}, and {_MOST_WAITING}"
            raise Overloaded("schemas", found, expected, retry_after_s=LONGEST_TRIAL_S)
        self._waiting[tenant] += 1
        try:
            async with self._tenants.setdefault(tenant, asyncio.Lock()):
                if schema not in self._verdicts and not self._costly(schema, tenant):
                    async with self._free:
                        await self._decide(schema, tenant)
        finally:
            self._waiting -= Counter((tenant,))
            if not self._waiting[tenant]:
                self._tenants.pop(tenant, None)

    async def _decide(self, schema: str, tenant: str) -> None:
        """Asks a process, and another where it died; what neither says is held against the schema for a while."""
        trial = self._trials.pop()
        try:
            verdict = await trial.verdict(schema) or await trial.verdict(schema)
        finally:
            self._trials.append(trial)
        if verdict is None or verdict.late:
            self._costly_until[tenant, schema] = time.monotonic() + _HELD_AGAINST_S
            if len(self._costly_until) > _REMEMBERED:
                self._costly_until.popitem(last=False)
            return
        self._verdicts[schema] = verdict.why
        if len(self._verdicts) > _REMEMBERED:
            self._verdicts.popitem(last=False)

    def _costly(self, schema: str, tenant: str) -> bool:
        """Whether a trial for this tenant did not end lately; others try anew, as it may be the machine's fault."""
        return self._costly_until.get((tenant, schema), 0.0) > time.monotonic()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Why a schema cannot be used; empty where it can, or where the trial was `late`."""

    why: str
    late: bool = False


class _Trial:
    """One process, made where there is none."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def verdict(self, schema: str) -> _Verdict | None:
        """What the process says, or that it took too long; None where it died."""
        try:
            process = self._process = self._process or await _begin()
            to, answers = _pipes(process)
            to.write(json.dumps(schema).encode() + b"\n")
            async with asyncio.timeout(LONGEST_TRIAL_S):
                answer = await answers.readline()
            return _Verdict(str(json.loads(answer)))
        except TimeoutError:
            await self.end()
            return _Verdict("", late=True)
        except (OSError, ValueError):
            await self.end()
            return None
        except BaseException:  # its answer would be taken for the next one's
            await self.end()
            raise

    async def end(self) -> None:
        """Ends the process, whatever it is at."""
        process, self._process = self._process, None
        if process:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _begin() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = (sys.executable, "-m", "services.executor.schema_trial")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, env={**os.environ, **paths})
    to, answers = _pipes(process)
    to.write(b'"{}"\n')  # so that what follows does not wait for its imports
    async with asyncio.timeout(_BEGUN_WITHIN_S):
        if not await answers.readline():
            raise OSError("a process that ended at once")
    return process


def _pipes(process: asyncio.subprocess.Process) -> tuple[asyncio.StreamWriter, asyncio.StreamReader]:
    if process.stdin is None or process.stdout is None:
        raise OSError("a process without pipes")
    return process.stdin, process.stdout


def _depth(schema: str) -> int:
    """How deep brackets lie in one another, those in its texts included."""
    deepest = depth = 0
    for character in schema:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest
