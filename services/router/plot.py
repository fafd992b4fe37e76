"""A small plot as SVG, for a page that loads nothing."""

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 560, 340, 56
_MOST_TICKS = 6


class Frame:
    """A plot's axes, with all values from the least to the greatest each way; what is drawn in it is SVG text."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float], x_name: str, y_name: str) -> None:
        self._ticks = _ticks(*across), _ticks(*up)
        self._x, self._y = ((ticks[0], ticks[-1]) for ticks in self._ticks)
        self._names = x_name, y_name

    @property
    def most(self) -> tuple[float, float]:
        """The last tick of each axis."""
        return self._x[1], self._y[1]

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
        """The whole figure: these parts on axes with round ticks."""
        ticks = []
        for x in self._ticks[0]:
            left, _ = self._at(x, self._y[0])
            ticks.append(f'<text x="{left:.0f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{x:,.10g}</text>')
        for y in self._ticks[1]:
            _, top = self._at(self._x[0], y)
            ticks.append(f'<text x="{_MARGIN - 8}" y="{top + 4:.0f}" text-anchor="end">{y:,.10g}</text>')
            ticks.append(f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{top:.0f}" y2="{top:.0f}" stroke="#eee"/>')
        names = (
            f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(self._names[0])}</text>'
            f'<text x="{_MARGIN}" y="{_MARGIN - 24}">{escape(self._names[1])}</text>'
        )
        inside = "".join((*ticks, names, *parts))
        return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH * 1.4:.0f}">{inside}</svg>'


def _ticks(low: float, high: float) -> Sequence[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten, of which the first and last have all values between them."""
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    power = 10.0 ** math.floor(math.log10((high - low) / _MOST_TICKS))
    for step in (factor * power for factor in (1, 2, 2.5, 5, 10, 20)):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first < _MOST_TICKS:
            return [place * step for place in range(first, last + 1)]
    raise AssertionError("a step of twenty times the power is as wide as all values")
