"""What precisions were measured to lose, as `python -m benchmarks.precision` writes it, for models that it measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.chassis.settings import ConfigError
from services.executor.engine import MeasuredPrecision

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Share = Annotated[float, Field(ge=0, le=1)]
_Error = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Settings(BaseModel):
    questions: int = Field(ge=1)


class _Quality(BaseModel):
    model_config = ConfigDict(extra="forbid")
    exact_match: _Share
    perplexity: Annotated[float, Field(ge=1, allow_inf_nan=False)]


class _Measured(BaseModel):
    model_config = ConfigDict(extra="forbid")
    digest: _Digest
    precisions: Mapping[str, _Quality]


class _RandomShape(BaseModel):
    model_config = ConfigDict(extra="forbid")
    logit_error: _Error
    same_likeliest_token: _Share


class PrecisionReport(BaseModel):
    """The content of the file; models are known by their digest, for figures of other weights would say nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    settings: _Settings
    models: Mapping[str, _Measured]
    random_half_billion: Mapping[str, _RandomShape]

    def of(self, digest: str) -> Sequence[MeasuredPrecision]:
        """Every precision of the report, in its order; without quality where no model of this digest was measured."""
        measured = next((one.precisions for one in self.models.values() if one.digest == digest), {})
        return [
            MeasuredPrecision(
                name,
                exact_match=quality.exact_match if quality else None,
                perplexity=quality.perplexity if quality else None,
                questions=self.settings.questions if quality else None,
                random_logit_error=random.logit_error if random else None,
            )
            for name in dict.fromkeys((*self.random_half_billion, *measured))
            for quality, random in [(measured.get(name), self.random_half_billion.get(name))]
        ]


def load_precision_report(path: Path) -> PrecisionReport:
    """The report in a file.

    Raises:
        ConfigError: names the file, the key of the first mistake, its value and what was expected.
    """
    try:
        return PrecisionReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "report"
        raise ConfigError(f"{path}: {key}: got {str(problem['input'])[:100]!r}, expected: {problem['msg']}") from error
