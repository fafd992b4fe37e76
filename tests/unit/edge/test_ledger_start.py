"""Edges that start together on a ledger that is not there yet make it once, and all of them serve."""

import subprocess
import sys
from pathlib import Path

EDGES, ROUNDS = 4, 8
OPEN = """
import sys
from pathlib import Path
from services.edge.ledger_file import LedgerFile
sys.stdout.write("ready\\n")
sys.stdout.flush()
for line in sys.stdin:
    LedgerFile(Path(line.strip()), False).close()
    sys.stdout.write("opened\\n")
    sys.stdout.flush()
"""


def test_edges_that_start_together(tmp_path: Path) -> None:
    """Each opens it, again and again, at the same moment as the others."""
    command = [sys.executable, "-c", OPEN]
    edges = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        for _ in range(EDGES)
    ]
    try:
        for edge in edges:
            assert edge.stdout
            assert edge.stdout.readline() == "ready\n"
        for number in range(ROUNDS):
            for edge in edges:
                assert edge.stdin
                edge.stdin.write(f"{tmp_path / str(number)}\n")
            for edge in edges:
                assert edge.stdout
                assert edge.stdout.readline() == "opened\n"
    finally:
        for edge in edges:
            edge.communicate()
