"""One self-contained page about a router: cost against quality, calibration, and a table by domain."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from services.router.evaluation import Point, Predicted, calibration_of
from services.router.off_policy import exact_interval
from services.router.plot import Frame

_ROUTER, _MODELS = "#0b6e4f", ("#c1121f", "#3a5ba0", "#b8860b", "#6a4c93", "#2b9348")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}figure{margin:1rem 0}
.note{color:#555}text{font:12px system-ui,sans-serif;paint-order:stroke;stroke:#fff;stroke-width:3px}"""


def page(
    rows: Predicted,
    chosen: NDArray[np.intp],
    bound: float,
    confidence: float | None,
    unit: str,
    remarks: Sequence[str],
) -> str:
    """The page as HTML that loads nothing; `chosen` are the models that the bound gives, [n]."""
    default = rows.models[rows.default]
    promise = f"{100 * bound:.3g}%" + (f" at {confidence:.0%} confidence" if confidence else " on average")
    harm = _told(rows.harm(chosen), len(chosen))
    notes = "".join(f"<p class=note>{escape(remark)}</p>" for remark in remarks)
    return f"""<!doctype html><html lang=en><meta charset=utf-8><title>Router report</title><style>{_STYLE}</style>
<h1>Router report</h1>
<p>{len(rows.scores):,} prompts that the router is held to; losses are counted against <b>{escape(default)}</b>.
With at most {promise} of requests worse, {harm} were. Costs are {escape(unit)}.</p>{notes}
{_summary(rows, chosen)}
<h2>Cost and quality</h2><figure>{_curve(rows, chosen, unit)}</figure>
<p class=note>The line is every threshold of predicted loss; the dashes are the cheapest model and {escape(default)}
mixed by chance. What lies above the dashes is what the router knows.</p>
<h2>Calibration</h2><figure>{_calibration(rows)}</figure>
<p class=note>Tenths of the prompts by predicted score, and what they got: on the diagonal a prediction is true.</p>
<h2>The promise</h2><figure>{_promise(rows)}</figure>
<p class=note>Tenths of the prompts by predicted loss, and how many of these were answered worse than {escape(default)}
would have, with 95 % intervals: on the dashes a predicted loss is true. The bound does not rest on that, but on
the threshold that calibrated prompts gave.</p>
<h2>Domains</h2>{_domains(rows, chosen)}
<p class=note>The promise is about all requests together, not about each domain's: one may lie above the bound where
others lie below it. Intervals are of 95 %, each by itself.</p>
</html>
"""


def _summary(rows: Predicted, chosen: NDArray[np.intp]) -> str:
    cheap = int(rows.costs.mean(axis=0).argmin())
    routed, strong, least = rows.point(chosen), rows.always(rows.default), rows.always(cheap)
    table = [
        (f"always {rows.models[cheap]}", least, rows.harm(np.full(len(chosen), cheap))),
        ("router", routed, rows.harm(chosen)),
        ("chance, at the router's cost", Point(routed.cost, rows.random(routed.cost)), None),
        (f"always {rows.models[rows.default]}", strong, 0.0),
    ]
    cells = [
        (escape(name), f"{point.score:.3f}", f"{point.cost:.4g}", "" if harm is None else _told(harm, len(chosen)))
        for name, point, harm in table
    ]
    return _table(("", "score", "cost", "worse"), cells)


def _domains(rows: Predicted, chosen: NDArray[np.intp]) -> str:
    cells = []
    for name, (count, routed, cheap, strong) in rows.by_domain(chosen).items():
        seen = np.array(rows.domains) == name
        share, worse = (chosen[seen] == rows.default).mean(), _told(rows.harm(chosen, seen), count)
        scores = (f"{one.score:.3f}" for one in (routed, cheap, strong))
        cells.append((escape(name or "not told"), f"{count:,}", *scores, f"{routed.cost:.4g}", f"{share:.0%}", worse))
    heads = ("domain", "prompts", "router", "always cheap", "always strong", "router's cost", "strong calls", "worse")
    return _table(heads, cells)


def _told(harm: float, prompts: int) -> str:
    """A share of so many prompts, with the interval that holds the true one in 95 % of files."""
    low, high = exact_interval(harm, prompts)
    return f"{harm:.2%} ({low:.2%} to {high:.2%})"


def _table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{one}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{one}</td>" for one in row) + "</tr>" for row in cells)
    return f"<table><tr>{head}</tr>{body}</table>"


def _curve(rows: Predicted, chosen: NDArray[np.intp], unit: str) -> str:
    singles = [rows.always(place) for place in range(len(rows.models))]
    routed, points = rows.point(chosen), rows.curve()
    everything = [*singles, *points, routed]
    costs, scores = [point.cost for point in everything], [point.score for point in everything]
    frame = Frame((min(costs), max(costs)), (min(scores), max(scores)), f"cost, {unit}", "score")
    cheap = min(singles, key=lambda point: point.cost)
    ordered = sorted(points, key=lambda point: (point.cost, point.score))
    drawn = [
        frame.line(
            [(cheap.cost, cheap.score), (singles[rows.default].cost, singles[rows.default].score)], "#999", "5 4"
        ),
        frame.line([(point.cost, point.score) for point in ordered], _ROUTER),
        *(
            frame.dot(point.cost, point.score, _colour(place), name)
            for place, (point, name) in enumerate(zip(singles, rows.models, strict=True))
        ),
        frame.dot(routed.cost, routed.score, _ROUTER, "router at the bound"),
    ]
    return frame.drawn(drawn)


def _calibration(rows: Predicted) -> str:
    frame = Frame((0, 1), (0, 1), "predicted score", "score")
    drawn = [frame.line([(0, 0), (1, 1)], "#999", "5 4")]
    for place, name in enumerate(rows.models):
        colour = _colour(place)
        found = calibration_of(rows.quality[:, place], rows.scores[:, place])
        drawn.append(frame.line([(predicted, right) for predicted, right, _ in found], colour))
        drawn.append(frame.dot(found[-1][0], found[-1][1], colour, name))
    return frame.drawn(drawn)


def _promise(rows: Predicted) -> str:
    """Predicted loss of every weaker model against the harm that came, with intervals."""
    bins = {
        place: [(loss, harm, *exact_interval(harm, count)) for loss, harm, count in rows.harm_as_predicted(place)]
        for place in range(len(rows.models))
        if place != rows.default
    }
    known = [one for found in bins.values() for one in found]
    most = max((high for *_, high in known), default=1.0)
    frame = Frame((0, max((loss for loss, *_ in known), default=1.0)), (0, most), "predicted loss", "share worse")
    widest = min(frame.most)
    drawn = [frame.line([(0, 0), (widest, widest)], "#999", "5 4")]
    for place, found in bins.items():
        colour = _colour(place)
        drawn.extend(frame.line([(loss, low), (loss, high)], colour, "2 2") for loss, _, low, high in found)
        if found:
            drawn.append(frame.line([(loss, harm) for loss, harm, *_ in found], colour))
            drawn.append(frame.dot(found[-1][0], found[-1][1], colour, rows.models[place]))
    return frame.drawn(drawn)


def _colour(place: int) -> str:
    return _MODELS[place % len(_MODELS)]
