"""Turns tokens back into text as they come, whole characters at a time, up to a stop text."""

from collections.abc import Sequence

from tokenizers import Tokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
MOST_TOKENS_A_CHARACTER = 8


class Detokeniser:
    """Text as tokens come; of a character that is incomplete nothing, of what stands before it all."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._context = 0  # decoding starts here, so that spacing rules see the token before
        self._given = 0  # tokens before this one have been given out
        self._told = 0  # characters of those after it, too
        self._grew = 0  # tokens there were when the last of these came

    def push(self, token: int) -> str:
        """The text that `token` completes; empty while a character is incomplete."""
        self._tokens.append(token)
        text = self._pending()
        whole = text.rstrip(REPLACEMENT)
        if len(whole) == len(text):
            self._context, self._given = self._given, len(self._tokens)
            return self._told_of(text, 0)
        if len(whole) > self._told:
            return self._told_of(whole, len(whole))
        if len(self._tokens) - self._grew <= MOST_TOKENS_A_CHARACTER:
            return ""
        self._context = self._given = len(self._tokens)  # not a character but broken bytes
        return self._told_of(text, 0)

    def flush(self) -> str:
        """What is left when no token follows; broken bytes become replacement characters."""
        text = self._pending()
        self._context = self._given = len(self._tokens)
        return self._told_of(text, 0)

    def _told_of(self, text: str, told: int) -> str:
        new, self._told, self._grew = text[self._told :], told, len(self._tokens)
        return new

    def _pending(self) -> str:
        before: str = self._tokenizer.decode(self._tokens[self._context : self._given])
        text: str = self._tokenizer.decode(self._tokens[self._context :])
        return text[len(before) :]


class StopFinder:
    """Passes text on up to the first stop text, holding back what may yet turn out to begin one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.taken = 0  # characters
        self.found = False

    def push(self, text: str) -> str:
        """Text that is safe to give out; once a stop text was `found`, what stood before it and then nothing."""
        if self.found:
            return ""
        self._held += text
        self.taken += len(text)
        starts = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if starts:
            self.found = True
            return self._held[: min(starts)]
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        safe, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return safe

    def flush(self) -> str:
        """What was held back, when no more text follows."""
        held, self._held = ("" if self.found else self._held), ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
