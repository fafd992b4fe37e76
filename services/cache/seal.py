"""Check sums of rows, so that a byte that changed on the disk is noticed and never served."""

import zlib

_CHECK_BYTES = 4


def seal(*values: object) -> bytes:
    """A check sum over the values and their types."""
    return zlib.crc32(repr(values).encode("utf-8", "surrogatepass")).to_bytes(_CHECK_BYTES, "little")


def checked(sequence: int, encoder: str, vector: bytes) -> bytes:
    """A vector followed by its check sum, which holds for this entry and encoder alone."""
    return vector + _check(sequence, encoder, vector)


def unchecked(sequence: int, encoder: str, stored: bytes) -> bytes | None:
    """The vector of `checked`; None where a byte of it changed, or it is another encoder's."""
    vector = stored[:-_CHECK_BYTES]
    return vector if stored[-_CHECK_BYTES:] == _check(sequence, encoder, vector) else None


def _check(sequence: int, encoder: str, vector: bytes) -> bytes:
    return zlib.crc32(vector, zlib.crc32(encoder.encode(), sequence & 0xFFFFFFFF)).to_bytes(_CHECK_BYTES, "little")
