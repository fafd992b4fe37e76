"""Writes what `benchmarks.gpu` found as JSON and as a table that names the device and says which bars hold."""

import json
import re
from collections.abc import Mapping
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
        "",
        "| kernel | right | PTX as TensorRT launches it | us | of copy bandwidth | bar | torch us | torch.compile us |",
        "|---|---|---|---:|---:|---|---:|---:|",
        *(_kernel(one) for one in found["kernels"]),
        "",
        "| decoder | rows | tokens/s | transformers | of the bandwidth bound | bar |",
        "|---|---:|---:|---:|---:|---|",
        *(_decoder(one) for one in found["decode"]),
        "",
        "| similarity search, 1M x 384 | ms a query |",
        "|---|---:|",
        *(f"| {name} | {value:.2f} |" for name, value in found["search"].items()),
    ]
    return "\n".join(lines) + "\n"


def _kernel(one: Mapping[str, Any]) -> str:
    times = (one["seconds"], one["eager_seconds"], one["compiled_seconds"])
    own, eager, compiled = (f"{1e6 * value:.1f}" for value in times)
    right, exact = ("yes" if one[name] else "NO" for name in ("right", "ptx_right"))
    share = one["share_of_copy"]
    held = one["seconds"] <= one["compiled_seconds"] and (one["least_share"] is None or share >= one["least_share"])
    least = "" if one["least_share"] is None else f"{one['least_share']:.0%}, "
    bar = f"{least}torch.compile: {'held' if held else 'MISSED'}"
    return f"| {one['kernel']} | {right} | {exact} | {own} | {share:.1%} | {bar} | {eager} | {compiled} |"


def _decoder(one: Mapping[str, Any]) -> str:
    beside = "not installed" if one["transformers"] is None else f"{one['transformers']:.0f}"
    asked = one["shape"] == "8B" and one["rows"] == 1
    verdict = "held" if one["share_of_bound"] >= LEAST_SHARE_OF_BOUND else "MISSED"
    bar = f"{LEAST_SHARE_OF_BOUND:.0%}: {verdict}" if asked else ""
    share = f"{one['share_of_bound']:.1%}"
    return f"| {one['shape']} | {one['rows']} | {one['tokens_per_s']:.0f} | {beside} | {share} | {bar} |"
