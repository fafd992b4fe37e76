"""Where the command line looks for a suite, and how it says so."""

import os
from collections.abc import Mapping


def default_address(environment: Mapping[str, str] = os.environ) -> str:
    """The address of `fulcrum up` under this environment: its own settings' host and port."""
    host = environment.get("FULCRUM_SERVER__HOST", "127.0.0.1")
    return f"{host}:{environment.get('FULCRUM_SERVER__PORT', '50551')}"
