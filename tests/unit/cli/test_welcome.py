"""What `fulcrum up` tells to call: an address that can be called, with what the settings ask for, or nothing."""

from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from services.chassis.settings import ServerSettings
from services.cli.serving import welcome

TLS = {"certificate": Path("s.crt"), "key": Path("s.key")}


def told(**settings: Any) -> str:
    return Text.from_markup(welcome(ServerSettings(**settings), 50551)).plain


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({}, 'fulcrum complete "What is the capital of Norway?"'),
        ({"port": 6000, "host": "127.0.0.2"}, 'Norway?" --address 127.0.0.2:50551'),
        ({"host": "0.0.0.0", "identity": {"open": True}}, 'fulcrum complete "What is the capital of Norway?"'),
        ({"identity": {"accept": ["keys"]}, "tls": TLS}, "FULCRUM_API_KEY=... fulcrum complete"),
        (
            {
                "identity": {"accept": ["certificate"], "trust_domain": "example.org"},
                "tls": {**TLS, "client_ca": Path("ca.crt")},
            },
            "--ca FILE --certificate FILE --key FILE",
        ),
    ],
)
def test_a_command_that_works(settings: dict[str, Any], command: str) -> None:
    """The command calls this machine where every interface is bound, and shows what callers must show."""
    hint = told(**settings).splitlines()[1]
    assert command in hint
    assert "0.0.0.0" not in hint


def test_no_command_where_none_works() -> None:
    """Where a proxy's header alone counts, which the command cannot send, none is suggested."""
    hint = told(host="0.0.0.0", identity={"accept": ["header"]})
    assert "fulcrum complete" not in hint
    assert "the proxy that sets x-tenant" in hint
