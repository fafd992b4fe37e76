"""Where the command line looks for a suite and how it connects, apart from what does, so that it loads no library."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from services.cli import argument_types

_EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}  # noqa: S104 - these are told apart


def reachable(host: str) -> str:
    """A host to call a server at that binds `host`, from the same machine."""
    return _EVERY_INTERFACE.get(host, host)


def default_address(environment: Mapping[str, str] = os.environ) -> str:
    """The address of `fulcrum up` under this environment: its own settings' host and port."""
    host = reachable(environment.get("FULCRUM_SERVER__HOST", "127.0.0.1"))
    return f"{host}:{environment.get('FULCRUM_SERVER__PORT', '50551')}"


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds where the suite is and how the connection is secured."""
    parser.add_argument(
        "--address",
        type=argument_types.address,
        default=default_address(),
        help="a running suite (default: %(default)s)",
    )
    parser.add_argument("--tls", action="store_true", help="TLS, by public authorities where no --ca is given")
    for name, text in (
        ("ca", "TLS: PEM certificates that verify the suite"),
        ("certificate", "mutual TLS: PEM certificate shown to the suite, beside --key"),
        ("key", "mutual TLS: PEM private key of the certificate"),
    ):
        variable = f"FULCRUM_{name.upper()}"
        default = os.environ.get(variable) or None
        parser.add_argument(f"--{name}", type=Path, default=default, help=f"{text} (default: {variable})")
    parser.add_argument(
        "--plaintext-key",
        action="store_true",
        help="let the key travel unencrypted to another machine, where something on the way encrypts",
    )
