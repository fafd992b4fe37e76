"""What finding out who calls costs: CPU microseconds a call for each way, on a real call's metadata and connection.

The call is made once over a socket, and the caller found out many times within it, so that what gRPC itself spends on
a call is left out; `none` is the baseline, a server that asks for nothing.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import uvloop

from services.chassis.access import ClientTlsSettings, IdentitySettings, TlsSettings
from services.chassis.channel import connect
from services.chassis.identity import Identity
from services.chassis.key_file import KeyFile
from services.chassis.tls import ClientCertificates, ServerCertificates
from tests.certificates import Authority

_TENANT = "spiffe://example.org/tenant/acme"


class _Repeating(grpc.GenericRpcHandler):
    """Finds out the caller of each call many times over; answers with the microseconds of one."""

    def __init__(self, identity: Identity, rounds: int) -> None:
        self._identity, self._rounds = identity, rounds

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        async def handle(request: bytes, context: Any) -> bytes:
            begin = time.process_time()
            for _ in range(self._rounds):
                self._identity.of_wire(context.invocation_metadata() or (), context.auth_context)
            return json.dumps((time.process_time() - begin) / self._rounds * 1e6).encode()

        return grpc.unary_unary_rpc_method_handler(handle)


async def measured(
    folder: Path, settings: IdentitySettings, metadata: tuple[tuple[str, str], ...], rounds: int
) -> float:
    """CPU microseconds of finding out one caller, the least of five tries."""
    authority = Authority()
    ca, shown = authority.write(folder), authority.server().write(folder, "server")
    server = grpc.aio.server(handlers=[_Repeating(Identity(settings), rounds)])
    tls = TlsSettings(certificate=shown.certificate, key=shown.key, client_ca=ca)
    port = server.add_secure_port("127.0.0.1:0", ServerCertificates(tls).credentials())
    await server.start()
    files = authority.client(_TENANT).write(folder, "client")
    client = ClientTlsSettings(ca=ca, certificate=files.certificate, key=files.key)
    channel = connect(f"127.0.0.1:{port}", certificates=ClientCertificates(client))
    ask: Callable[..., Any] = channel.unary_unary("/fulcrum/Measure")
    tries = [json.loads(await ask(b"", timeout=60, metadata=metadata)) for _ in range(5)]
    await channel.close()
    await server.stop(0)
    return float(min(tries))


async def main() -> None:
    """Prints a line a way, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=200, help="how many keys the file holds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "keys.json"
        file = KeyFile(path)
        token = [file.create("acme", "", False, None)[1] for _ in range(arguments.keys)][-1]
        common = (("x-request-id", "0" * 32), ("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"))
        ways: dict[str, tuple[IdentitySettings, tuple[tuple[str, str], ...]]] = {
            "none": (IdentitySettings(), ()),
            "keys": (IdentitySettings(accept=("keys",), keys=path), (("authorization", f"Bearer {token}"),)),
            "certificate": (IdentitySettings(accept=("certificate",), trust_domain="example.org"), ()),
            "header": (IdentitySettings(accept=("header",)), (("x-tenant", "acme"),)),
        }
        found = {
            way: round(await measured(folder, settings, (*common, *more), arguments.rounds), 2)
            for way, (settings, more) in ways.items()
        }
    if arguments.json:
        print(json.dumps({"cpu_us": found, "keys": arguments.keys}))
        return
    for way, cpu_us in found.items():
        print(f"{way:12} {cpu_us:6.2f} us")


if __name__ == "__main__":
    uvloop.run(main())
