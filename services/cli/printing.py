"""How tables reach a terminal of any width, or a pipe: no id and no figure in them is ever cut."""

import re
import sys

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

_UNBOUNDED = 100_000  # columns
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text from elsewhere as it reads: what would steer a terminal, or be taken for markup, does neither."""
    return escape(harmless(text))


def harmless(text: str) -> str:
    """Text with what would steer a terminal, ends of lines and tabs aside, as replacement characters."""
    return _CONTROLS.sub("\ufffd", text)


def show(*shown: RenderableType, anew: bool = False) -> None:
    """Prints: on a terminal in its width, on a cleared one where `anew`; into a pipe in all the width it takes."""
    console = Console() if sys.stdout.isatty() else Console(width=_UNBOUNDED)
    if anew:
        console.clear()
    for one in shown:
        console.print(_fitting(one, console) if isinstance(one, Table) else one)


def _fitting(table: Table, console: Console) -> Table:
    """The table, or, where the terminal is narrower, its rows one below another with each value beside its heading."""
    unbounded = console.options.update(max_width=_UNBOUNDED)
    if not table.show_header or Measurement.get(console, unbounded, table).maximum <= console.width:
        return table
    turned = Table(title=table.title, title_justify="left", caption=table.caption, show_header=False)
    turned.add_column(style="dim", overflow="fold")
    turned.add_column(overflow="fold")
    headings = [column.header for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for heading, cell in zip(headings, row, strict=True):
            turned.add_row(heading, cell)
        turned.add_section()
    return turned
