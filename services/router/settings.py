"""What an operator may set of the router."""

from pathlib import Path

from pydantic import Field

from services.chassis.settings import Section


class RouterSettings(Section, section="router"):
    """The router's slice of the settings; relative paths start at the working directory."""

    catalogue: Path = Field(Path("deploy/catalogue.yaml"), description="YAML file with the models and their prices")
    prices: Path | None = Field(
        None, description="YAML file with prices by model name, which win over the catalogue's; none where unset"
    )
    predictor: Path | None = Field(
        Path("models/router/router.safetensors"),
        description="fitted predictor; without one (null) the default model answers whatever the request leaves open",
    )
    max_quality_loss: float = Field(
        0.02, ge=0, le=1, description="share of requests that may be answered worse than the default model would"
    )
    confidence: float | None = Field(
        None, gt=0, lt=1, description="with which that is promised; on average where unset"
    )
    expected_output_tokens: int = Field(256, ge=1, description="tokens of an answer, for expected costs")
    remembered_decisions: int = Field(10_000, ge=1, description="decisions that Assess and Feedback still know")
    outcome_log: Path | None = Field(None, description="JSON lines file for the scores of Feedback; none where unset")
    outcome_log_max_bytes: int = Field(16 * 1024 * 1024, ge=4096, description="size at which that file is rotated")
