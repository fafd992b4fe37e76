"""What `fulcrum stats` shows of promises."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from fulcrum.cache.v1 import cache_service_pb2 as cache_pb
from fulcrum.router.v1 import router_service_pb2 as router_pb

from services.cli.printing import show
from services.cli.promise_table import promises_table, route_promise_table


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


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"judged_answers": 1200, "harmed_answers": 3}, "stands "),
        ({"shift": 0.41}, "stands, of other prompts: calibrate anew"),
        ({"shift": 0.41, "suspended": True}, "suspended: the strong model answers"),
    ],
)
def test_the_routers_promise_is_shown(state: Mapping[str, Any], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Suspension comes before shift, of which the mark is told too."""
    show(route_promise_table(router_pb.PromiseState(**state)))
    out = capsys.readouterr().out
    assert told in out
    assert f"{state.get('shift', 0):.2f} (other prompts from 0.25)" in out
    assert "judged_answers" not in state or "1,200" in out
