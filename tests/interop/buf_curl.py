"""The probe that is `buf curl`: it knows no contract but what the server's reflection tells it."""

import asyncio
import base64
import json
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.interop.outcome import Outcome

ROOT = Path(__file__).parents[2]
ABSENT = ("fulcrum.edge.v1.EdgeService", "fulcrum.absent.v1.AbsentService")  # of which Nothing is called
BUF = Path(sys.executable).parent / "buf"


class BufProbe:
    """One process a call.

    Args:
        absent: folder of a module that declares methods which no server has.
    """

    def __init__(self, absent: Path) -> None:
        self._absent = absent
        for name in ABSENT:
            package, _, service = name.rpartition(".")
            (absent / name).mkdir(parents=True)
            (absent / name / "absent.proto").write_text(
                f'syntax = "proto3";\npackage {package};\nimport "google/protobuf/empty.proto";\nservice {service} '
                "{ rpc Nothing(google.protobuf.Empty) returns (google.protobuf.Empty); }\n"
            )

    async def call(
        self,
        address: str,
        method: str,
        request: Mapping[str, Any],
        *,
        metadata: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        cancel_after: int | None = None,
    ) -> Outcome:
        """As Probe.call; the time includes that of the process and of reflection."""
        schema = ["--schema", str(self._absent / method.split("/")[0])] if method.endswith("/Nothing") else []
        headers = [f"--header={key}: {value}" for key, value in (metadata or {}).items()]
        headers += ["--reflect-header", "*"] if headers and not schema else []
        given = ["--data", json.dumps(request), "--timeout", f"{timeout_s}s", *headers, *schema]
        process = await self._start("--protocol", "grpc", *given, f"http://{address}/{method}")
        assert process.stdout
        assert process.stderr
        before = b""
        if cancel_after:
            for _ in range(cancel_after):
                before += await process.stdout.readuntil(b"\n}")
            process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        messages = _messages((before + out).decode())
        if process.returncode == 0:
            return Outcome(messages)
        if cancel_after:
            return Outcome(messages, "CANCELLED")
        status = _status(err.decode())
        details = {one["type"].rpartition(".")[2]: await self._decoded(one) for one in status.get("details", ())}
        return Outcome(messages, status["code"].upper(), status.get("message", ""), details)

    async def services(self, address: str) -> list[str]:
        """As Probe.services."""
        process = await self._start("--protocol", "grpc", "--list-services", f"http://{address}")
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode().split()

    async def _decoded(self, detail: Mapping[str, str]) -> dict[str, Any]:
        """What buf makes of a detail, which curl prints as base64 of its bytes."""
        value = detail["value"]
        content = base64.b64decode(value + "=" * (-len(value) % 4))
        told = ["convert", str(ROOT), "--type", detail["type"], "--from", "-#format=binpb", "--to", "-#format=json"]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(BUF, *told, stdin=pipe, stdout=pipe)
        out, _ = await process.communicate(content)
        decoded: dict[str, Any] = _snake(json.loads(out))
        return decoded

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(BUF, "curl", *arguments, stdout=pipe, stderr=pipe)


def _messages(out: str) -> list[dict[str, Any]]:
    found, at, decoder = [], 0, json.JSONDecoder()
    while out[at:].strip():
        begin = at + len(out[at:]) - len(out[at:].lstrip())
        message, at = decoder.raw_decode(out, begin)
        found.append(_snake(message))
    return found


def _status(err: str) -> dict[str, Any]:
    """The error that curl prints as JSON; nothing else may be there."""
    status: dict[str, Any] = json.loads(err)
    return status


def _snake(value: Any) -> Any:
    """The contracts' field names for those of JSON; the keys of a map are nobody's field names."""
    if isinstance(value, dict):
        return {
            re.sub("([A-Z])", lambda found: f"_{found[0].lower()}", key): inner if key == "metadata" else _snake(inner)
            for key, inner in value.items()
        }
    return [_snake(one) for one in value] if isinstance(value, list) else value
