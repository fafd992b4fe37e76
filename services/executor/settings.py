"""What an operator may set of the executor: the encoder and the models it runs."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from services.chassis.settings import Section

UNLOAD_WAIT_S = 60.0
ENGINES = Path(".engines")
GPU_PRECISION = "fp16"  # of an encoder
MOST_THREADS = 256  # more than that no machine of ours has cores for


class EncoderSettings(BaseModel):
    """The sentence encoder behind EmbeddingService."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: Path = Field(Path(".models/all-MiniLM-L6-v2"), description="sentence-transformers folder of a BERT family")
    precision: Literal["fp32", "int8", "fp16"] = Field(
        "fp32", description="each is a vector space of its own; fp16 runs by TensorRT on a GPU: docs/kernels.md"
    )
    engines: Path = Field(ENGINES, description="folder of built TensorRT engines and their timings")
    threads: int = Field(1, ge=1, le=MOST_THREADS, description="threads within a run")
    waiting_limit: int = Field(1024, ge=256, description="texts that may wait; more are refused at once")
    run_tokens: int = Field(1024, ge=1, description="most tokens in one run, a single text aside")


class LocalModel(BaseModel):
    """A decoder that runs in this process."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    folder: Path = Field(description="Hugging Face folder: config.json, safetensors, tokenizer.json, chat template")
    precision: Literal["fp32", "int8", "int4", "w8a8"] = Field(
        "int8",
        description="of weights; w8a8 makes integers of activations too, for many requests at once: docs/models.md",
    )
    graph_cache: Path | None = Field(
        Path(".models/graphs"),
        description="folder where graphs of large models are kept; null keeps none",
    )
    load_at_start: bool = Field(True, description="false loads it only when `fulcrum models load` says so")
    backend: Literal["auto", "tensorrt", "cuda", "cpu"] = Field(
        "auto", description="what runs it; auto takes the first of these that can be had, and logs why"
    )
    gpu_precision: Literal["bf16", "fp16", "int8", "fp8", "int4"] = Field(
        "bf16", description="on a GPU; ONNX Runtime takes fp16 for both; int8 and fp8 need calibration"
    )
    calibration: Path | None = Field(None, description="text file, a sample a line, for int8 and fp8 on TensorRT")
    engines: Path = Field(ENGINES, description="folder of built TensorRT engines and their timings")
    threads: int = Field(1, ge=1, le=MOST_THREADS, description="threads within a step")
    context_tokens: int | None = Field(
        None,
        ge=16,
        description="lowers the model's own limit, and with it the memory; unset, it is lowered as kv_memory_mb needs",
    )
    places: int = Field(16, ge=1, le=256, description="requests that run at once, as far as kv_memory_mb reaches")
    kv_memory_mb: int = Field(1024, ge=1, description="most megabytes for keys and values, kept prefixes included")
    prefix_memory_mb: int = Field(
        128, ge=0, description="of these, for kept prefixes: up to a quarter, and what places leave"
    )
    share_prefixes: bool = Field(False, description="whether tenants find one another's prefixes, and so can time them")
    waiting_limit: int = Field(16, ge=0, description="requests that may wait; more are refused at once")

    @property
    def expected_precision(self) -> str:
        """Of weights, as far as the settings tell before it is loaded: with `auto`, the CPU's."""
        return {"tensorrt": self.gpu_precision, "cuda": "fp16"}.get(self.backend, self.precision)


class RemoteModel(BaseModel):
    """A model on an OpenAI-compatible server."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    base_url: str = Field(pattern="^https?://", description="what stands before /chat/completions")
    model: str | None = Field(None, description="the provider's name for it, where it differs from ours")
    reasoning_effort: str | None = Field(
        None,
        min_length=1,
        max_length=40,
        description="how long it thinks, in the server's word; unset sends none",
    )
    provider: str | None = Field(
        None, description="genai-prices' name of the provider, by whose rules usage is read; by base_url where unset"
    )
    api_key_env: str | None = Field(None, description="environment variable that holds the key; none is sent if unset")
    context_tokens: int = Field(0, ge=0, description="most tokens of prompt and answer together; 0 where unknown")
    supports_tools: bool = Field(True, description="whether it takes tools")
    supports_json_schema: bool = Field(True, description="whether it takes response_format with a JSON schema")
    supports_logprobs: bool = Field(True, description="whether it tells probabilities of tokens")
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="the server's name for the most tokens of an answer"
    )
    connect_timeout_s: float = Field(5.0, gt=0, description="longest wait for a connection")
    read_timeout_s: float = Field(60.0, gt=0, description="longest wait for the next piece of an answer")
    places: int = Field(64, ge=1, description="requests at once")
    waiting_limit: int = Field(64, ge=0, description="requests that may wait; more are refused at once")

    @model_validator(mode="before")
    @classmethod
    def _elsewhere(cls, given: Any) -> Any:
        if isinstance(given, dict) and "folder" in given:
            raise ValueError("either `folder`, for a local model, or `base_url`, for a remote one")
        return given


def _kind(value: Any) -> str:
    remote = isinstance(value, RemoteModel) or (isinstance(value, dict) and "base_url" in value)
    return "remote" if remote else "local"


Model = Annotated[
    Annotated[LocalModel, Tag("local")] | Annotated[RemoteModel, Tag("remote")],
    Discriminator(_kind),
]


class ExecutorSettings(Section, section="executor"):
    """The executor's slice of the settings; relative paths start at the working directory."""

    encoder: EncoderSettings | None = Field(EncoderSettings(), description="null serves no embeddings")
    memory_bytes: int | None = Field(
        None, ge=1, description="most that local models take together; one that does not fit is not loaded"
    )
    unload_wait_s: float = Field(
        UNLOAD_WAIT_S, ge=0, description="how long an unload waits for answers under way; then they end as UNAVAILABLE"
    )
    precision_report: Path | None = Field(
        None, description="what `python -m benchmarks.precision` printed, told beside models; null tells nothing"
    )
    models: dict[str, Model] = Field(
        {name: LocalModel(folder=Path("models") / name) for name in ("fulcrum-small", "fulcrum-large")},
        description="by name: `folder` for a local model, `base_url` for a remote one",
    )
