"""Finds personal data in what would be kept: what has a form of its own, or a check sum, that confirms it."""

import re
from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.us import ssn

Kind = Literal["email", "phone", "card", "iban", "ssn"]
KINDS: tuple[Kind, ...] = ("email", "phone", "card", "iban", "ssn")

_EMAIL = re.compile(r"[\w.+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8}", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w.,])(?<!\d[ -])[3-6]\d{3}(?:[ -]?\d{2,6}){2,4}(?!\w|[ -]\d|[.,]\d)")
_CARD_DIGITS = range(13, 20)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")


class Detector(Protocol):
    """What says that a text must not be kept."""

    def find(self, text: str) -> str | None:
        """What kind of personal data the text holds; None where it holds none."""


class PersonalData:
    """Looks for the given kinds with python-stdnum's check sums and phonenumbers' numbering plans.

    Phone numbers count in their international form alone, as others cannot be told from other numbers. Names and
    addresses are not looked for: what finds them (spaCy and its models, for Presidio) takes hundreds of times as long.
    """

    def __init__(self, kinds: Iterable[Kind] = KINDS) -> None:
        self._kinds = tuple(kinds)

    def find(self, text: str) -> str | None:
        """The first kind that is found."""
        return next((kind for kind in self._kinds if _FINDERS[kind](text)), None)


def _has_phone(text: str) -> bool:
    return "+" in text and PhoneNumberMatcher(text, None, leniency=Leniency.VALID, max_tries=100).has_next()


def _has_card(text: str) -> bool:
    digits = ("".join(filter(str.isdecimal, match[0])) for match in _CARD.finditer(text))
    return any(len(number) in _CARD_DIGITS and luhn.is_valid(number) for number in digits)


_FINDERS: dict[Kind, Callable[[str], bool]] = {
    "email": lambda text: "@" in text and _EMAIL.search(text) is not None,
    "phone": _has_phone,
    "card": _has_card,
    "iban": lambda text: any(iban.is_valid(match[0]) for match in _IBAN.finditer(text)),
    "ssn": lambda text: any(ssn.is_valid(match[0]) for match in _SSN.finditer(text)),
}
