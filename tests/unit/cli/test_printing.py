"""Tables in a narrow terminal and in a pipe: nothing in them is cut."""

import io
import sys

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.cli.printing import harmless, plain, show

ID = "7vx55ewr5574aaaa"
FIGURE = "$0.000234481"


class Terminal(io.StringIO):
    """Standard output that is a terminal, or is not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(("terminal", "columns"), [(True, 200), (True, 80), (True, 40), (False, 20), (False, 80)])
def test_nothing_is_cut(monkeypatch: pytest.MonkeyPatch, terminal: bool, columns: int) -> None:
    """Ids and figures are whole on a terminal of any width, which no line exceeds, and in a pipe, row by row."""
    output = Terminal(terminal)
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    table = Table("id", "tenant", "may see", "created", "state", "cost", title="keys")
    for end in "ab":
        table.add_row(ID + end, "acme", "every tenant", "2026-11-26 01:16:57 UTC", "active", FIGURE)
    show(table)
    shown = Text.from_ansi(output.getvalue()).plain
    assert [shown.count(what) for what in (f"{ID}a", f"{ID}b", FIGURE)] == [1, 1, 2]
    assert "…" not in shown
    lines = shown.splitlines()
    if terminal:
        assert max(map(len, lines)) <= columns
    else:
        assert [line for line in lines if f"{ID}a" in line and FIGURE in line]


def test_what_steers_a_terminal_is_shown_as_nothing() -> None:
    """Prompts and answers are other people's: neither their escape sequences nor what looks like markup acts."""
    assert plain("a\x1b[31mb\x1b]0;title\x07c\x9b2Jd") == "a\ufffd[31mb\ufffd]0;title\ufffdc\ufffd2Jd"
    table = Table("prompt")
    table.add_row(plain("[bold]x[/] \x1b[2J"))
    output = io.StringIO()
    Console(file=output, width=80).print(table)
    assert "[bold]x[/]" in output.getvalue()
    assert "\x1b" not in output.getvalue()
    assert harmless("lines\nand\ttabs, å, 漢") == "lines\nand\ttabs, å, 漢"
