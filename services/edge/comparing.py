"""Has models answer a request beside its caller, and says which of two answers is better, within what that may cost."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import structlog

from services.chassis.errors import FulcrumError
from services.edge.background import BackgroundCalls
from services.edge.catalogue import Catalogue
from services.edge.chat import CacheControl, Request
from services.edge.judge_question import LONGEST_BYTES, OUTPUT_TOKENS
from services.edge.judges import Comparison, Equality
from services.edge.preference import preference
from services.edge.price import at_most
from services.edge.settings import ShadowSettings
from services.edge.shadow_budget import SHADOW, ShadowBudget

_BEYOND = 1 << 62  # nano-dollars, more than any budget
_BYTES_PER_TOKEN = 8  # of an answer within a question, with what JSON escapes; longer ones are not judged


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a comparison went, who says so, and scores of the weaker model's answer and the strong one's."""

    result: str
    source: str
    scores: tuple[float, float]


_UNRESOLVED = Verdict("unresolved", "unresolved", (0.0, 1.0))


class Comparing:
    """Each call is a line of the ledger, of the tenant whose request it is.

    Args:
        settings: by whom, and at most how long answers are compared.
        calls: asks the models and the judge.
        catalogue: knows what they cost.
        budget: where it has no room, nobody may be asked.
    """

    def __init__(
        self, settings: ShadowSettings, calls: BackgroundCalls, catalogue: Catalogue, budget: ShadowBudget
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._catalogue = catalogue
        self._budget = budget

    def room(self, request: Request, strong: str, others: Collection[str]) -> AbstractAsyncContextManager[bool]:
        """Whether all that a comparison may cost is left; it is set aside while this lasts.

        It is the same whichever of these models answered the request, and whatever was said: else, as a budget ends,
        what is still compared would be the decisions that are cheap to compare.

        Args:
            request: what they answer.
            strong: the model whose answer is the reference.
            others: weaker ones that are all to answer; where there are none one answer is compared.
        """
        said, judge = self._said_tokens(request), self._settings.judge or ""
        judged = self._cost(judge, self._question_bytes(request), OUTPUT_TOKENS) * max(1, len(others))
        answers = sum(self._cost(model, request.size_bytes, said) for model in (strong, *others))
        return self._budget.room(request.tenant, answers + judged)

    def priced(self, model: str) -> bool:
        """Whether it is known what a model costs; no room is ever left for others."""
        return self._catalogue.prices.get(model) is not None

    async def answer(self, request: Request, model: str) -> str:
        """What a model says, for which there has to be room."""
        sampling = replace(request.sampling, max_output_tokens=self._said_tokens(request))
        asked = replace(request, sampling=sampling, cache_control=CacheControl(no_cache=True, no_store=True))
        return await self._calls.answer(asked, model, SHADOW)

    async def verdict(self, request: Request, weaker: str, strong: str) -> Verdict:
        """Compares a weaker model's answer with the strong model's: by their writing, else by the judge.

        There has to be room. What the judge does not tell is scored as worse, by a source that says so: equal answers
        need no judge, so that without this a judge that fails would leave the good news alone.
        """
        if await Equality().same(Comparison(request, weaker, strong)):
            return Verdict("same", "equality", (1.0, 1.0))
        judge, compared = self._settings.judge or "", preference(request, weaker, strong)
        if compared.asked.size_bytes > self._question_bytes(request) or not request.objective.allows(judge):
            return _UNRESOLVED
        try:
            reply = await self._calls.answer(compared.asked, judge, SHADOW)
        except FulcrumError as error:
            structlog.get_logger("edge").warning("a judge failed", judge=judge, error=str(error))
            return _UNRESOLVED
        scores = compared.scores(reply)
        if scores is None:
            return _UNRESOLVED
        return Verdict({(1.0, 1.0): "same", (0.0, 1.0): "worse"}.get(scores, "better"), judge, scores)

    def _said_tokens(self, request: Request) -> int:
        """The most that an answer may have."""
        return min(
            request.sampling.max_output_tokens or self._settings.max_output_tokens, self._settings.max_output_tokens
        )

    def _question_bytes(self, request: Request) -> int:
        """The most that a judge is given to read of a request with two answers."""
        bare = preference(request, "", "").asked.size_bytes
        return min(LONGEST_BYTES, bare + 2 * _BYTES_PER_TOKEN * self._said_tokens(request))

    def _cost(self, model: str, read_bytes: int, said_tokens: int) -> int:
        """The most that an answer may cost, as no tokens are more than their bytes; beyond any budget if unpriced."""
        price = self._catalogue.prices.get(model)
        return _BEYOND if price is None else at_most(price, read_bytes, said_tokens)
