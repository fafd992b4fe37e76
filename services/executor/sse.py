"""Reads server-sent events out of bytes as they arrive (WHATWG HTML, section 9.2), as far as chat servers use them."""

from collections.abc import Iterator

from services.chassis.errors import Unavailable

LONGEST_LINE_BYTES = 4 * 1024 * 1024


class EventReader:
    """One stream. Comments and fields other than data are left out.

    Lines end at LF or CR LF alone: other characters at which Python's own line splitting ends lines occur inside JSON.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The data of each event that `chunk` completes, its lines joined.

        Raises:
            Unavailable: a line grows beyond 4 MiB or is no UTF-8.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            raise Unavailable("provider", f"a line of {len(self._rest)} bytes", f"at most {LONGEST_LINE_BYTES} bytes")
        for line in lines:
            yield from self._line(_text(line))

    def _line(self, line: str) -> Iterator[str]:
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif line == "" and self._data:
            data, self._data = self._data, []
            yield "\n".join(data)


def _text(line: bytes) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        raise Unavailable("provider", "a line that is no UTF-8", "server-sent events in UTF-8") from error
