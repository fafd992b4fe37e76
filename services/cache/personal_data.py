"""Finds personal data in what would be kept: what has a form of its own, or a check sum, that confirms it."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal, Protocol

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.us import ssn

Kind = Literal["email", "phone", "card", "iban", "ssn"]
KINDS: tuple[Kind, ...] = ("email", "phone", "card", "iban", "ssn")

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_ABROAD = re.compile(r"(?<![\w+.,-])(?<!\d[ -])00(?=[1-9])")  # how a "+" is dialled
_DIGIT_GROUPS = re.compile(r"(?<!\w)(?<!\d\.)(?<![A-Za-z]{2}\d\d[ -])\d+(?:[ -]\d+)*(?!\w|\.\d)")
_ISSUER = re.compile(r"[3-6]\d{3}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)")
_CARD_DIGITS = range(13, 20)
_CARD_GROUPS, _ISSUER_DIGITS = 5, 4
_MOST = 1000  # numbers like cards, or like IBANs, that are tried; a text of more is taken to hold one
_IBAN = re.compile(r"\b(?=([A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?))", re.IGNORECASE | re.ASCII)
_IBAN_CHARACTERS = range(15, 35)
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
    dialled = _ABROAD.sub("+", text)
    if "+" not in dialled and "＋" not in dialled:
        return False
    return PhoneNumberMatcher(dialled, None, leniency=Leniency.VALID, max_tries=100).has_next()


def _has_card(text: str) -> bool:
    return _holds(_like_cards(text), luhn.is_valid)


def _like_cards(text: str) -> Iterator[str]:
    """As many digits as a card has, after an issuer's first four: groups in a row, of four and more but the last."""
    for match in _DIGIT_GROUPS.finditer(text):
        groups = re.split("[ -]", match[0])
        for start, first in enumerate(groups):
            number = ""
            for group in groups[start : start + _CARD_GROUPS] if _ISSUER.match(first) else ():
                number += group
                if len(number) in _CARD_DIGITS:
                    yield number
                if len(group) < _ISSUER_DIGITS:
                    break


def _like_ibans(text: str) -> Iterator[str]:
    """A country and check digits with any number of the groups behind them."""
    for match in _IBAN.finditer(text):
        number = ""
        for group in re.split("[ -]", match[1]):
            number += group
            if len(number) in _IBAN_CHARACTERS:
                yield number


def _holds(numbers: Iterator[str], is_valid: Callable[[str], bool]) -> bool:
    return any(map(is_valid, islice(numbers, _MOST))) or next(numbers, None) is not None


_FINDERS: dict[Kind, Callable[[str], bool]] = {
    "email": lambda text: "@" in text and _EMAIL.search(text) is not None,
    "phone": _has_phone,
    "card": _has_card,
    "iban": lambda text: _holds(_like_ibans(text), iban.is_valid),
    "ssn": lambda text: any(ssn.is_valid(match[0]) for match in _SSN.finditer(text)),
}
