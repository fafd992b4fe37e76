"""What each kernel takes of each architecture, recorded so that growth is noticed: `python -m kernels.resources`.

`--write` records what is found now in `resources.json`; without it, what is found is printed beside the record.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from kernels.aot import assemble, compile_ahead
from kernels.machine_code import largest_loop
from kernels.specimens import specimens
from kernels.tuning import ARCHITECTURES

RECORD = Path(__file__).parent / "resources.json"
Resources = dict[str, dict[str, dict[str, int]]]


def measure() -> Resources:
    """Registers a thread, spilled and shared bytes a block, instructions of the longest loop, all by architecture."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as compilers:
        tables = compilers.map(_table, ARCHITECTURES)
        return {f"sm_{architecture}": table for architecture, table in zip(ARCHITECTURES, tables, strict=True)}


def _table(architecture: int) -> dict[str, dict[str, int]]:
    found = {}
    for specimen in specimens(architecture):
        made = assemble(compile_ahead(specimen))
        found[specimen.contract.name] = {
            "registers": made.registers,
            "spill_bytes": made.spill_bytes,
            "shared_bytes": made.shared_bytes,
            "loop_instructions": largest_loop(made.cubin),
        }
    return found


def growth(found: Resources, recorded: Resources) -> list[str]:
    """What takes more than was recorded, or is not recorded, a line each."""
    lines = []
    for architecture, kernels in found.items():
        for kernel, sizes in kernels.items():
            before = recorded.get(architecture, {}).get(kernel)
            for name, size in sizes.items():
                if before is None or size > before[name]:
                    known = "nothing recorded" if before is None else before[name]
                    lines.append(f"{architecture} {kernel}: {name} {size}, recorded {known}")
    return lines


def recorded() -> Resources:
    """The committed record."""
    record: Resources = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


def main(arguments: list[str]) -> int:
    """Prints JSON of what was found; exits with 1 where something grew."""
    found = measure()
    if "--write" in arguments:
        RECORD.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))
    grown = growth(found, recorded())
    print(*grown, sep="\n", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
