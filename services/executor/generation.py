"""One answer under way: its tokens, which the scheduler deals out to passes, and the text that they become."""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import TypeAlias

from tokenizers import Tokenizer

from services.chassis.errors import FulcrumError, Internal
from services.executor.constraint import Constraint
from services.executor.engine import (
    AlternativeToken,
    FinishReason,
    Sampling,
    Spent,
    TextDelta,
    TokenLogprob,
    Usage,
)
from services.executor.sampling import Sampler
from services.executor.text import Detokeniser, StopFinder
from services.executor.vocabulary import Vocabulary

Progress: TypeAlias = TextDelta | FulcrumError | None  # an error or None is the last


class Generation:
    """Where one answer stands.

    Args:
        tenant: whose it is.
        prompt: at least one token.
        limit: most tokens to generate, at least 1.
        sampling: how to choose; its own limit is not looked at.
        tokenizer: turns tokens into text.
        end_tokens: tokens that end the answer and are not part of its text.
        vocabulary: tells tokens' bytes; needed where probabilities are asked for.
        constraint: what form the answer must have; any where None.
    """

    def __init__(
        self,
        tenant: str,
        prompt: Sequence[int],
        limit: int,
        sampling: Sampling,
        tokenizer: Tokenizer,
        end_tokens: frozenset[int],
        vocabulary: Vocabulary | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        self.tenant = tenant
        self.prompt_size = len(prompt)
        self.tokens = list(prompt)
        self.computed = 0
        self.cached = 0
        self.slot: int | None = None
        self.turn_began = 0
        self.read_at = 0
        self.sampler = Sampler(sampling, constraint)
        self.alternatives = sampling.top_logprobs
        self.reason: FinishReason | None = None
        self.machine_s = 0.0
        self.admitted_at: float | None = None
        self._limit = limit
        self._detokeniser = Detokeniser(tokenizer)
        self._stop = StopFinder(sampling.stop)
        self._end_tokens = end_tokens
        self._constraint = constraint
        self._vocabulary = vocabulary
        self._told: list[tuple[int, TokenLogprob]] = []  # with the characters before it, and until its text is given
        self._given = 0  # characters
        self._logprob_sum = 0.0
        self._untaken: TextDelta | None = None
        self._ended = False
        self._error: FulcrumError | None = None
        self._news = asyncio.Event()
        self.turns = 0

    @property
    def resumed(self) -> bool:
        """Whether it has had a slot before."""
        return self.turns > 0

    def admitted(self) -> None:
        """Notes that it has a slot now."""
        self.turns += 1
        self.admitted_at = self.admitted_at or time.perf_counter()

    def restored(self, tokens: int) -> None:
        """Notes that its slot holds so many of its tokens from another conversation, or from before it gave one up."""
        self.computed = tokens
        if self.turns == 1:
            self.cached = tokens

    def tell(self, progress: Progress) -> None:
        """Hands over what happened, on the event loop of the one who takes it."""
        if isinstance(progress, TextDelta):
            before = self._untaken or TextDelta("")
            logprobs = before.logprobs + progress.logprobs
            self._untaken = TextDelta(before.text + progress.text, progress.spent, logprobs)
        else:
            self._ended, self._error = True, progress
        self._news.set()

    async def next_text(self) -> TextDelta | None:
        """All text that has come meanwhile, so that who is slow has less to take; None behind the last.

        Raises:
            FulcrumError: what the answer ended with instead.
        """
        await self._news.wait()
        delta, self._untaken = self._untaken, None
        if delta is None and self._error:
            raise self._error
        if not self._ended:
            self._news.clear()
        return delta

    @property
    def usage(self) -> Usage:
        """Tokens so far; the one that ended the answer counts, for it took a pass as well."""
        return Usage(self.prompt_size, self.cached, 0, self._generated)

    @property
    def spent(self) -> Spent:
        """What it has taken so far."""
        return Spent(self.usage, self.machine_s)

    @property
    def mean_logprob(self) -> float | None:
        """Over the tokens chosen so far; None before the first."""
        return self._logprob_sum / self._generated if self._generated else None

    def accept(self, token: int, logprob: float, others: Sequence[tuple[int, float]] = ()) -> TextDelta | None:
        """Appends the token chosen behind the last; returns text that became certain, and what is to tell of it.

        Sets `reason` when the answer is complete, after which no token may follow. `others` are the likeliest tokens.

        Raises:
            Internal: the probability is not a number, and neither then were the logits.
        """
        if math.isnan(logprob):
            raise Internal("logits", "NaN", "numbers: the model's weights do not suit its precision, or it is broken")
        self.tokens.append(token)
        self._logprob_sum += logprob
        before = self._stop.taken
        text = self._text_after(token)
        self._given += len(text)
        if self.alternatives is not None and token not in self._end_tokens:
            self._told.append((before, self._tell(token, logprob, others)))
        told = self._tokens_given()
        return TextDelta(text, self.spent, told) if text or told else None

    def _text_after(self, token: int) -> str:
        if token in self._end_tokens:
            self.reason = FinishReason.STOP
            return self._rest()
        complete = self._constraint is not None and self._constraint.take(token)
        text = self._stop.push(self._detokeniser.push(token))
        if complete and not self._stop.found:
            self.reason = FinishReason.STOP
            return text + self._rest()
        if self._generated == self._limit and not self._stop.found:
            self.reason = FinishReason.LENGTH
            text += self._rest()
        if self._stop.found:
            self.reason = FinishReason.STOP
        return text

    def _tokens_given(self) -> tuple[TokenLogprob, ...]:
        """Those whose text is given out, or at the end all, but never what lies behind the cut of a stop text."""
        whole = self.reason is not None and not self._stop.found
        found = tuple(one for before, one in self._told if whole or before < self._given)
        del self._told[: len(found)]
        return found

    def _tell(self, token: int, logprob: float, others: Sequence[tuple[int, float]]) -> TokenLogprob:
        assert self._vocabulary  # noqa: S101 - the engine refuses who asks where there is none
        name = self._vocabulary.token_bytes
        return TokenLogprob(name(token), logprob, tuple(AlternativeToken(name(one), at) for one, at in others))

    @property
    def _generated(self) -> int:
        return len(self.tokens) - self.prompt_size

    def _rest(self) -> str:
        return self._stop.push(self._detokeniser.flush()) + self._stop.flush()
