"""Writes what `benchmarks.gpu` found as JSON and as a table that names the device and says which bars hold."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LEAST_SHARE_OF_BOUND = 0.8  # of an 8B decoder, one row


def write(found: Mapping[str, Any], folder: Path) -> str:
    """The table, which is written to `folder` beside the JSON, both named after the device."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", found["device"]).strip("-").lower()
    text = table(found)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return text


def table(found: Mapping[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"# {found['device']}",
        "",
        f"`python -m benchmarks.gpu`, bfloat16; copy bandwidth {found['copy_bytes_per_s'] / 1e9:.0f} GB/s.",
        *(["", "Failed:", "", *(f"- {line}" for line in found["failed"])] if found["failed"] else []),
        "",
        "Against the float64 references, at ragged shapes, all outputs:",
        "",
        "| kernel | type | by Triton | PTX as TensorRT launches it |",
        "|---|---|---|---|",
        *_verdicts(found["checks"]),
        "",
        "All kernels of an operator, as TensorRT launches them, beside torch with the same outputs; CUDA graphs all:",
        "",
        "| kernel | shape | us | of copy bandwidth | bar | torch us | torch.compile us |",
        "|---|---|---:|---:|---|---:|---:|",
        *(_kernel(one) for one in found["kernels"]),
        "",
        "| decoder | rows | by | tokens/s | of the bandwidth bound | bar |",
        "|---|---:|---|---:|---:|---|",
        *(_decoder(one) for one in found["decode"]),
        "",
        "| similarity search, 1M x 384 | ms |",
        "|---|---:|",
        *(f"| {one['way']} | {one['ms']:.2f} |" for one in found["search"]),
    ]
    return "\n".join(lines) + "\n"


def bars_of(one: Mapping[str, Any]) -> str:
    """Each bar of a kernel by itself, held or missed."""
    plain = one["compiled_seconds"] or one["eager_seconds"]
    held = {"torch.compile" if one["compiled_seconds"] else "torch": one["seconds"] <= plain}
    if one["least_share"] is not None:
        held[f"{one['least_share']:.0%}"] = one["share_of_copy"] >= one["least_share"]
    return ", ".join(f"{name}: {'held' if holds else 'MISSED'}" for name, holds in held.items())


def _verdicts(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a kernel and type: right where it is so at every shape."""
    lines = []
    for kernel, kind in dict.fromkeys((one["kernel"], one["type"]) for one in checks):
        same = [one for one in checks if (one["kernel"], one["type"]) == (kernel, kind)]
        right, exact = ("yes" if all(one[name] for one in same) else "NO" for name in ("right", "ptx_right"))
        lines.append(f"| {kernel} | {kind} | {right} | {exact} |")
    return lines


def _kernel(one: Mapping[str, Any]) -> str:
    times = (one["seconds"], one["eager_seconds"], one["compiled_seconds"])
    own, eager, compiled = ("fails" if value is None else f"{1e6 * value:.1f}" for value in times)
    share = f"{one['share_of_copy']:.1%}"
    return f"| {one['kernel']} | {one['shape']} | {own} | {share} | {bars_of(one)} | {eager} | {compiled} |"


def _decoder(one: Mapping[str, Any]) -> str:
    asked = (one["shape"], one["rows"], one["way"]) == ("8B", 1, "direct emitter")
    verdict = "held" if one["share_of_bound"] >= LEAST_SHARE_OF_BOUND else "MISSED"
    bar = f"{LEAST_SHARE_OF_BOUND:.0%}: {verdict}" if asked else ""
    share = f"{one['share_of_bound']:.1%}"
    return f"| {one['shape']} | {one['rows']} | {one['way']} | {one['tokens_per_s']:.0f} | {share} | {bar} |"
