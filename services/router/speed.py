"""How fast a model answers, as the catalogue says or as edge has measured."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

_LONGEST_S = 1e9  # as long as never, and still a duration


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds to the first token, and tokens of the answer a second from then on."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    first_token_s: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
    output_tokens_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def seconds(self, output_tokens: int) -> float:
        """To the end of an answer of so many tokens."""
        return min(_LONGEST_S, self.first_token_s + output_tokens / self.output_tokens_per_second)
