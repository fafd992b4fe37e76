"""A sandbox for templates of strangers, in which a rendering makes only so many characters and takes only so long."""

import functools
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from services.executor.template_rewriting import Watched

LONGEST_S = 2.0
MOST_CHARACTERS = 64 * 1024 * 1024  # of all strings and items that one rendering makes, the result included
_MOST_FACTOR, _MOST_POWER = 1_000_000, 64
_OBJECT = 64  # characters, about, of what is neither text nor number nor collection
_SLOW = ("pprint", "sum", "urlize", "wordwrap", "xmlattr")  # filters whose time is not that of what they make
_NEVER_LONGER = frozenset(
    re.findall(
        r"\w+",
        "attr capitalize casefold count d default dictsort endswith find first float get groupby index int items keys "
        "last length list lower lstrip map partition reject rejectattr removeprefix removesuffix reverse rfind rindex "
        "round rpartition rsplit rstrip safe select selectattr sort split splitlines startswith string strip swapcase "
        "title trim unique upper values",
    )
)


class _Allotment:
    """What is left of one rendering's characters and time."""

    def __init__(self) -> None:
        self._left = MOST_CHARACTERS
        self._ends = time.monotonic() + LONGEST_S

    def take(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise jinja2.TemplateRuntimeError(f"more than {MOST_CHARACTERS} characters")
        if time.monotonic() > self._ends:
            raise jinja2.TemplateRuntimeError(f"more than {LONGEST_S} seconds")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Whatever makes a string or a collection is refused before it is made where it might be too large."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=self._written, **options)
        self._renderings = threading.local()
        del self.globals["lipsum"]
        for name in _SLOW:
            del self.filters[name]
        for name, made in list(self.filters.items()):
            self.add_filter(name, made)

    def add_filter(self, name: str, makes: Callable[..., Any]) -> None:
        """Adds a filter that keeps to the limits."""
        first = 1 if hasattr(makes, "jinja_pass_arg") else 0  # an environment or context comes before the value

        @functools.wraps(makes)
        def limited(*given: Any, **named: Any) -> Any:
            value, arguments = given[first], given[first + 1 :]
            if isinstance(value, Iterator) and name not in _NEVER_LONGER:
                value = list(value)
            self._allow(name, value, arguments, named)
            return self._pay(makes(*given[:first], value, *arguments, **named))

        self.filters[name] = limited

    @contextmanager
    def rendering(self) -> Iterator[None]:
        """A rendering by this thread, with characters and time of its own."""
        self._renderings.allotment = _Allotment()
        try:
            yield
        finally:
            del self._renderings.allotment

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """What the operator gives, if it is of an ordinary size."""
        both = (left, right)
        if all(isinstance(one, int | float) for one in both):
            if (operator in "**" and max(map(abs, both)) > _MOST_FACTOR) or (operator == "**" and right > _MOST_POWER):
                raise jinja2.TemplateRuntimeError("a product that is too large")
        elif operator == "%":
            self._check(_formatted(str(left), (right,)))
        elif operator == "*":
            self._check(_weight(left) * right if isinstance(right, int) else _weight(right) * left)
        else:
            self._check(_weight(left) + _weight(right))
        return self._pay(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *arguments: Any, **named: Any) -> Any:  # noqa: N805 - as Jinja has it
        """What a function or method gives; those of texts, numbers and collections keep to the limits."""
        method = getattr(__obj, "__wrapped__", __obj)
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes | int | float | Collection):
            __self._allow(method.__name__, owner, arguments, named)
        return __self._pay(super().call(__context, __obj, *arguments, **named))

    def joined(self, *parts: Any) -> str:
        """The texts of these behind one another."""
        self._check(sum(map(_weight, parts)))
        return "".join(map(str, parts))

    def made(self, value: Any) -> Any:
        """A literal or slice."""
        self._check(_weight(value))
        return value

    def round(self, written: int) -> str:
        """Nothing, at the start of a body that writes so many characters."""
        self._allotment.take(written)
        return ""

    @property
    def _allotment(self) -> _Allotment:
        found = getattr(self._renderings, "allotment", None)
        if found is None:  # while it compiles, Jinja tries what is constant, and takes an error for "not now"
            raise jinja2.TemplateRuntimeError("not rendering")
        return found  # type: ignore[no-any-return]

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = Watched().visit(super()._parse(source, name, filename))
        return tree.set_environment(self)  # type: ignore[return-value]

    def _written(self, value: Any) -> Any:
        if hasattr(self._renderings, "allotment"):
            self._allotment.take(_weight(value))
        return value

    def _allow(self, name: str, value: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> None:
        if name in _NEVER_LONGER:
            self._check(0)
        elif name == "format":
            self._check(_formatted(str(value), (*arguments, *named.values())))
        elif name == "replace" and isinstance(value, str) and len(arguments) > 1:
            old, new = map(str, arguments[:2])
            self._check(len(value) + value.count(old) * len(new))
        else:
            self._check((_weight(value) + 1) * (1 + sum(map(_amount, (*arguments, *named.values())))))

    def _check(self, size: float) -> None:
        self._allotment.take(0)
        if size > MOST_CHARACTERS:
            raise jinja2.TemplateRuntimeError(f"a value of more than {MOST_CHARACTERS} characters")

    def _pay(self, made: Any) -> Any:
        self._allotment.take(len(made) if isinstance(made, str | bytes | list | tuple | dict) else 0)
        return made


def _weight(value: Any, seen: dict[int, int] | None = None) -> int:
    """Characters of a value as text, about; what a collection holds several times counts each time."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, int):
        return value.bit_length() // 3 + 1
    parts: Any = vars(value)["_Namespace__attrs"] if isinstance(value, Namespace) else value
    if not isinstance(parts, Collection):
        return _OBJECT
    seen = {} if seen is None else seen
    if id(value) not in seen:
        seen[id(value)] = 0
        held = chain(parts.keys(), parts.values()) if isinstance(parts, Mapping) else iter(parts)
        seen[id(value)] = 2 + sum(2 + _weight(one, seen) for one in held)
    return seen[id(value)]


def _amount(value: Any) -> float:
    """How much longer an argument may make something: a number, such as a width, by so many."""
    return abs(value) if isinstance(value, int | float) else _weight(value)


def _formatted(text: str, values: Sequence[Any]) -> int:
    """Most characters of a formatted text: any number in it may be a width."""
    if re.search(r"%[-+ #0\d.]*\*|\{[^}]*\{", text):
        raise jinja2.TemplateRuntimeError("a width that is not written out")
    widths = sum(map(int, re.findall(r"\d+", text)))
    return len(text) + widths + (text.count("%") + text.count("{")) * _weight(list(values))
