"""A small plot as SVG, for a page that loads nothing."""

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 560, 340, 56


class Frame:
    """A plot's axes, from the least to the greatest value each way; what is drawn in it is SVG text."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float], x_name: str, y_name: str) -> None:
        self._x, self._y, self._names = _padded(across), _padded(up), (x_name, y_name)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        wide, high = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
        across, up = (x - self._x[0]) / (self._x[1] - self._x[0]), (y - self._y[0]) / (self._y[1] - self._y[0])
        return _MARGIN + wide * across, _HEIGHT - _MARGIN - high * up

    def line(self, points: Sequence[tuple[float, float]], colour: str, dashes: str = "") -> str:
        """Points joined, dashed where told."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self._at(*point) for point in points))
        return (
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        )

    def dot(self, x: float, y: float, colour: str, name: str) -> str:
        """A point with its name beside it."""
        left, top = self._at(x, y)
        end = left > _WIDTH / 2
        label = f'<text x="{left + (-8 if end else 8):.1f}" y="{top - 7:.1f}" text-anchor="{"end" if end else "start"}"'
        circle = f'<circle cx="{left:.1f}" cy="{top:.1f}" r="4" fill="{colour}"/>'
        return f'{circle}{label} fill="{colour}">{escape(name)}</text>'

    def drawn(self, parts: Sequence[str]) -> str:
        """The whole figure: these parts on axes with five ticks."""
        ticks = []
        for share in (0, 0.25, 0.5, 0.75, 1):
            x, y = (low + share * (high - low) for low, high in (self._x, self._y))
            left, top = self._at(x, y)
            ticks.append(f'<text x="{left:.0f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{x:.3g}</text>')
            ticks.append(f'<text x="{_MARGIN - 8}" y="{top + 4:.0f}" text-anchor="end">{y:.3g}</text>')
            ticks.append(f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{top:.0f}" y2="{top:.0f}" stroke="#eee"/>')
        names = (
            f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{self._names[0]}</text>'
            f'<text x="{_MARGIN}" y="{_MARGIN - 24}">{self._names[1]}</text>'
        )
        inside = "".join((*ticks, names, *parts))
        return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH * 1.4:.0f}">{inside}</svg>'


def _padded(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    return (low, high) if high > low else (low - 0.5, high + 0.5)
