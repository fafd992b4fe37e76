"""Sums of the ledger for whoever asks, read beside the thread that writes it."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from services.edge.usage import SUMS, Totals

FIRST = ("", -2, "")  # before every group
_SUMMED = ", ".join(f"sum({name})" for name in SUMS)
_KEYS = (("tenant", "''"), ("day", "-1"), ("model", "''"))


@dataclass(frozen=True, slots=True)
class Group:
    """Sums of one group; what it is not split by is empty, the day -1."""

    tenant: str
    day: int
    model: str
    totals: Totals


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Executions of one kind that answered nobody, by their state in the ledger, and what they cost."""

    state: str
    executions: int
    actual_nano_usd: int


class LedgerSums:
    """Reads what is committed; used by one thread.

    Args:
        path: the ledger's file, which is there.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA query_only = ON")

    def usage(
        self, tenant: str | None, days: tuple[int, int], by: frozenset[str], after: tuple[str, int, str], limit: int
    ) -> tuple[Totals, list[Group], list[Group], list[Unanswered]]:
        """Sums of one tenant, or of all, over days (end excluded): all together, by model, and `by` what is asked.

        The last are those of what answered nobody. All are of one moment; `after` and `limit` are for the groups that
        are asked for, which are empty where `by` is.
        """
        self._connection.execute("BEGIN")
        try:
            whole = self.groups(tenant, days, frozenset(), FIRST, 1)
            models = self.groups(tenant, days, frozenset({"model"}), FIRST, -1)
            split = self.groups(tenant, days, by, after, limit) if by else []
            unanswered = self._unanswered(tenant, days)
        finally:
            self._connection.execute("COMMIT")
        return whole[0].totals if whole else Totals(), models, split, unanswered

    def groups(
        self, tenant: str | None, days: tuple[int, int], by: frozenset[str], after: tuple[str, int, str], limit: int
    ) -> list[Group]:
        """Sums split `by` tenant, day and model, in that order; at most `limit` of them, all where it is negative."""
        keys = [name if name in by else nothing for name, nothing in _KEYS]
        whose, named = ("", ()) if tenant is None else ("tenant = ? AND", (tenant,))
        sql = f"""SELECT {keys[0]} AS t, {keys[1]} AS d, {keys[2]} AS m, {_SUMMED} FROM totals
            WHERE {whose} day >= ? AND day < ?
            GROUP BY t, d, m HAVING (t, d, m) > (?, ?, ?) ORDER BY t, d, m LIMIT ?"""  # noqa: S608 - our names
        rows = self._connection.execute(sql, (*named, *days, *after, limit))
        return [Group(t, d, m, Totals(*sums)) for t, d, m, *sums in rows]

    def _unanswered(self, tenant: str | None, days: tuple[int, int]) -> list[Unanswered]:
        whose, named = ("", ()) if tenant is None else ("tenant = ? AND", (tenant,))
        sql = f"""SELECT state, sum(executions), sum(actual_nano_usd) FROM unanswered
            WHERE {whose} day >= ? AND day < ? GROUP BY state ORDER BY state"""  # noqa: S608 - our names
        return [Unanswered(*row) for row in self._connection.execute(sql, (*named, *days))]

    def first_day(self) -> int | None:
        """The first day that has sums, None where there is none."""
        found = self._connection.execute("SELECT min(day) FROM totals").fetchone()[0]
        return None if found is None else int(found)

    def close(self) -> None:
        """Gives the file back."""
        self._connection.close()
