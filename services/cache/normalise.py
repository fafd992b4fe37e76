"""Decides when two prompts are the same text: only by changes that can never change an answer."""

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.cache.entry import Partition

# Where one of these stands, two blanks in a row may be data: a quotation, code, a table.
_HOLDS_DATA = re.compile("[\"'`‘’“”«»\t]")


def normalise(text: str) -> str:
    """The prompt without differences that no reader can see.

    Canonically equivalent characters are the same text by definition (Unicode NFC). Blanks around a prompt of one line
    are dropped, and runs of blanks inside it count as one unless it quotes something. In a prompt of several lines
    blanks may be indentation, so only line ends, empty lines around it and blanks after it are made equal. Letter case
    and punctuation stay: "Polish" is not "polish", and "5!" is not "5".
    """
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n")
    line = text.strip()
    if "  " not in line and line.isprintable():  # " " is the only blank that is printed
        return line
    if "\n" in line:
        return text.rstrip().lstrip("\n")
    return line if _HOLDS_DATA.search(line) else " ".join(line.split())


@lru_cache(16)  # a lookup asks for it when it recalls and again when it searches
def exact_key(partition: "Partition", text: str) -> bytes:
    """Digest of 32 bytes over tenant, fingerprint and normalised prompt, each with its length."""
    prompt = normalise(text).encode(errors="surrogatepass")
    return hashlib.sha256(_begin(partition) + len(prompt).to_bytes(8, "little") + prompt).digest()


@lru_cache(256)
def _begin(partition: "Partition") -> bytes:
    parts = partition.tenant.encode(), partition.fingerprint
    return b"".join([len(part).to_bytes(8, "little") + part for part in parts])
