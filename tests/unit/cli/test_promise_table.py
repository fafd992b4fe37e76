"""What `fulcrum stats` shows of promises."""

import re

import pytest
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb

from services.cli.printing import show
from services.cli.promise_table import promises_table


def promise(tenant: str, requests: int) -> cache_pb.Promise:
    return cache_pb.Promise(
        tenant=tenant,
        requests=requests,
        served=12,
        audits=3,
        realised=0.0006,
        certified=0.0303,
        allowed=0.01,
        verifier=cache_pb.VERIFIER_STANDING_DECIDES,
        brake=cache_pb.BRAKE_UNTOLD,
    )


def test_promises_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Shares in per cent, who decides and whether the brake is on; twenty at most, those with most requests first."""
    show(promises_table([promise(f"tenant {number}", 1000 * number) for number in range(1, 23)]))
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if re.search(r"tenant \d", line)]
    rows = [[cell.strip() for cell in re.split("[│|]", line)[1:-1]] for line in lines]
    assert rows[0] == ["tenant 22", "22,000", "12", "3", "0.06%", "3.03%", "1.00%", "decides", "untold"]
    assert len(rows) == 20
    assert "20 of 22" in out
