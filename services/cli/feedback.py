"""`fulcrum feedback`: tells a running suite whether an answer was right."""

import argparse
import sys
from pathlib import Path

from fulcrum.edge.v1 import edge_service_pb2 as edge_pb
from fulcrum.edge.v1 import receipt_pb2
from google.protobuf.json_format import Parse, ParseError

from services.chassis.settings import ConfigError
from services.cli.asking import suite

_EXPECTED = "what `fulcrum complete --json` printed"


async def feedback(arguments: argparse.Namespace) -> None:
    """Tells it by the receipt, and prints to whom it was sent."""
    receipt = _receipt(arguments.receipt)
    request = edge_pb.FeedbackRequest(
        lookup_id=receipt.cache.lookup_id,
        decision_id=receipt.route.decision_id,
        model=receipt.model,
        verdict=edge_pb.VERDICT_RIGHT if arguments.verdict == "right" else edge_pb.VERDICT_WRONG,
    )
    async with suite(arguments) as told:
        await told.feedback(request)
    parts = ("the cache", request.lookup_id), ("the router", request.decision_id)
    print(f"sent to {' and '.join(part for part, named in parts if named)}: {arguments.verdict}")


def _receipt(path: Path) -> receipt_pb2.Receipt:
    """The last thing in the file, after the answer: from the last line on that opens an object."""
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: got {error.strerror}, expected a file with {_EXPECTED}") from error
    lines = content.decode(errors="replace").splitlines()
    begins = max((place for place, line in enumerate(lines) if line == "{"), default=0)
    receipt = receipt_pb2.Receipt()
    try:
        Parse("\n".join(lines[begins:]), receipt, ignore_unknown_fields=True)
    except ParseError:
        receipt.Clear()
    if not receipt.receipt_id:
        raise ConfigError(f"{path}: got no receipt, expected {_EXPECTED}")
    return receipt
