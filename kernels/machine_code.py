"""Counts the instructions of a kernel's loops in its machine code: a memory-bound one has few to spend."""

import re
import subprocess
import tempfile
from pathlib import Path

import triton

_LABEL = re.compile(r"^\.(L_x_\d+):")
_BRANCH = re.compile(r"BRA(?:\.\w+)*\s+(?:!?U?P\d+,\s*)?`\(\.(L_x_\d+)\)")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?[A-Z]")


def largest_loop(cubin: bytes) -> int:
    """Instructions of the longest loop, 0 where there is none, by the nvdisasm that Triton brings."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "-c", file.name]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S603
    return longest(lines)


def longest(lines: list[str]) -> int:
    """The most instructions between a label and a later branch back to it."""
    labels = {found[1]: place for place, line in enumerate(lines) if (found := _LABEL.match(line.strip()))}
    most = 0
    for place, line in enumerate(lines):
        if (branch := _BRANCH.search(line)) and labels.get(branch[1], place) < place:
            body = lines[labels[branch[1]] : place + 1]
            most = max(most, sum(bool(_INSTRUCTION.search(one)) for one in body))
    return most
