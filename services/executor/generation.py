"""One answer under way: from prompt tokens to text, a step at a time, for whoever owns the model's memory to drive."""

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from services.executor.engine import FinishReason, Sampling, Usage
from services.executor.sampling import Sampler
from services.executor.text import Detokeniser, StopFinder

PREFILL_CHUNK_TOKENS = 256


class Passes(Protocol):
    """What a step needs of a loaded model."""

    def logits_after(self, tokens: Sequence[int], start: int) -> NDArray[np.float32]:
        """Logits `[vocabulary]` behind `tokens`, of which the first lies at position `start`."""


class Generation:
    """Where one answer stands.

    Args:
        prompt: at least one token.
        limit: most tokens to generate, at least 1.
        sampling: how to choose; its own limit is not looked at.
        tokenizer: turns tokens into text.
        end_tokens: tokens that end the answer and are not part of its text.
    """

    def __init__(
        self, prompt: Sequence[int], limit: int, sampling: Sampling, tokenizer: Tokenizer, end_tokens: frozenset[int]
    ) -> None:
        self._prompt_size = len(prompt)
        self._pending = list(prompt)
        self._position = 0
        self._limit = limit
        self._sampler = Sampler(sampling)
        self._detokeniser = Detokeniser(tokenizer)
        self._stop = StopFinder(sampling.stop)
        self._end_tokens = end_tokens
        self._generated = 0
        self._logprob_sum = 0.0
        self.reason: FinishReason | None = None
        self.machine_s = 0.0

    @property
    def usage(self) -> Usage:
        """Tokens so far; the one that ended the answer counts, for it took a pass as well."""
        return Usage(self._prompt_size, 0, 0, self._generated)

    @property
    def mean_logprob(self) -> float | None:
        """Over the tokens chosen so far; None before the first."""
        return self._logprob_sum / self._generated if self._generated else None

    def step(self, model: Passes) -> str:
        """One pass of the model, over a chunk of the prompt or the last token; returns text that became certain.

        Sets `reason` when the answer is complete, after which no step may follow.
        """
        begin = time.thread_time()  # work, not waiting for a core that others use
        chunk, self._pending = self._pending[:PREFILL_CHUNK_TOKENS], self._pending[PREFILL_CHUNK_TOKENS:]
        logits = model.logits_after(chunk, self._position)
        self._position += len(chunk)
        text = "" if self._pending else self._accept(*self._sampler.choose(logits))
        self.machine_s += time.thread_time() - begin
        return text

    def _accept(self, token: int, logprob: float) -> str:
        self._generated += 1
        self._logprob_sum += logprob
        if token in self._end_tokens:
            self.reason = FinishReason.STOP
            return self._rest()
        text = self._stop.push(self._detokeniser.push(token))
        if self._generated == self._limit and not self._stop.found:
            self.reason = FinishReason.LENGTH
            text += self._rest()
        if self._stop.found:
            self.reason = FinishReason.STOP
        self._pending = [token]
        return text

    def _rest(self) -> str:
        return self._stop.push(self._detokeniser.flush()) + self._stop.flush()
