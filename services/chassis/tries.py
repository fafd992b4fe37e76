"""What several tries of one call know of one another: where earlier ones went, and which lost to another."""

import contextvars


class Try:
    """One try.

    Args:
        been: where the tries of this call went so far; a channel prefers to go elsewhere, and adds where it goes.
    """

    __slots__ = ("been", "lost")

    def __init__(self, been: set[object]) -> None:
        self.been = been
        self.lost = False  # another try answered while this one was silent for long: its end counts as a timeout


_current: contextvars.ContextVar[Try | None] = contextvars.ContextVar("try", default=None)


def current_try() -> Try | None:
    """The try that this task makes, or None where the call is made once."""
    return _current.get()


def begin_try(one: Try | None) -> None:
    """Makes `one` the try of this task; None ends it."""
    _current.set(one)
