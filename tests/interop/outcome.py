"""How a call ended, said the same way whichever client made it, and what each client must be able to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Outcome:
    """One finished call.

    Args:
        messages: what came, as JSON with the contracts' field names.
        code: name of the canonical status.
        message: the status's sentence.
        details: its google.rpc details by short name, decoded by that client.
    """

    messages: list[dict[str, Any]]
    code: str = "OK"
    message: str = ""
    details: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(one["text_delta"]["text"] for one in self.messages if one.get("text_delta"))

    @property
    def receipt(self) -> dict[str, Any]:
        """The last message's receipt."""
        found: dict[str, Any] = self.messages[-1]["receipt"]
        return found


class Probe(Protocol):
    """A client in some language that calls what it is told to."""

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
        """Calls `package.Service/Method`; `cancel_after` cancels it after so many messages."""

    async def services(self, address: str) -> list[str]:
        """The services that the server's reflection names."""
