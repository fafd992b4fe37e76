"""The Llama family, written once: config to shape, shape to operators."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from services.executor.models.checkpoint import Checkpoint
from services.executor.models.config_reader import ConfigReader
from services.executor.models.emitter import CachedAttention, DecoderEmitter, HeadNorms, Value, Weight
from services.executor.models.rotary import LARGEST_POSITIONS, read_rotary

LARGEST_WIDTH = 1_048_576
FEWEST_POSITIONS = 16
FEWEST_TOKENS = 16
HEAD_DIM_STEP = 16  # of ONNX Runtime's attention


@dataclass(frozen=True)
class Family:
    """Where a family departs from Llama, as transformers reads its configuration.

    `bias` says who decides on attention biases: the configuration, for all four layers of attention; or the family, for
    the three inputs or none. `windows` says which layers may have a sliding window. `head_dim` stands where the
    configuration gives none; without it a head is the hidden width by the heads.
    """

    bias: Literal["configured", "inputs", "none"] = "configured"
    windows: Literal["none", "all", "upper"] = "none"
    normed_heads: bool = False
    head_dim: int | None = None


FAMILIES: Mapping[str, Family] = {
    "llama": Family(),  # SmolLM too
    "mistral": Family(bias="none", windows="all"),
    "qwen2": Family(bias="inputs", windows="upper"),
    "qwen3": Family(windows="upper", normed_heads=True, head_dim=128),
}


@dataclass(frozen=True)
class DecoderShape:
    """Sizes and switches of one decoder; `windows` by layer, as in `CachedAttention`."""

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    norm_epsilon: float
    attention: CachedAttention
    windows: tuple[int | None, ...]
    input_bias: bool
    output_bias: bool
    normed_heads: bool
    tied_embeddings: bool


def decoder_shape(checkpoint: Checkpoint, context_tokens: int | None = None) -> DecoderShape:
    """Reads the shape from `config.json`; `context_tokens` lowers the model's own limit.

    Raises:
        InvalidCheckpoint: a value is missing, of another type, out of its range, or not what this definition does.
    """
    config = ConfigReader(checkpoint.folder / "config.json", checkpoint.config)
    family = FAMILIES[config.choice("model_type", FAMILIES)]
    config.choice("hidden_act", ["silu"], "silu")
    if config.flag("mlp_bias", False):
        raise config.refuse("mlp_bias", "false")
    layers = config.integer("num_hidden_layers", 1, 1024)
    attention = _attention(config, family, context_tokens)
    configured = family.bias == "configured" and config.flag("attention_bias", False)
    return DecoderShape(
        layers=layers,
        hidden=config.integer("hidden_size", 1, LARGEST_WIDTH),
        intermediate=config.integer("intermediate_size", 1, LARGEST_WIDTH),
        vocabulary=config.integer("vocab_size", FEWEST_TOKENS, 16 * LARGEST_WIDTH),
        norm_epsilon=config.number("rms_norm_eps", 1e-12, 0.1),
        attention=attention,
        windows=_windows(config, family, layers, attention.max_positions),
        input_bias=configured or family.bias == "inputs",
        output_bias=configured,
        normed_heads=family.normed_heads,
        tied_embeddings=config.flag("tie_word_embeddings", False),
    )


def emit_decoder(emitter: DecoderEmitter[Value], shape: DecoderShape) -> Value:
    """Logits `[rows, vocabulary]` of the positions that `last_position` chooses."""
    table = Weight("model.embed_tokens.weight", (shape.vocabulary, shape.hidden))
    residual = emitter.embed(emitter.tokens, table)
    x = emitter.rms_norm(residual, _norm(shape, 0), shape.norm_epsilon)
    for layer in range(shape.layers):
        attended = _emit_attention(emitter, shape, layer, x)
        after = Weight(f"model.layers.{layer}.post_attention_layernorm.weight", (shape.hidden,))
        x, residual = emitter.add_rms_norm(attended, residual, after, shape.norm_epsilon)
        x = _emit_mlp(emitter, shape, layer, x)
        x, residual = emitter.add_rms_norm(x, residual, _norm(shape, layer + 1), shape.norm_epsilon)
    head = table if shape.tied_embeddings else Weight("lm_head.weight", table.shape)
    return emitter.linear(emitter.last_position(x), [head])


def _emit_attention(emitter: DecoderEmitter[Value], shape: DecoderShape, layer: int, x: Value) -> Value:
    attention, prefix = shape.attention, f"model.layers.{layer}.self_attn"
    queries, keys = attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim
    widths = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
    weights = [Weight(f"{prefix}.{name}.weight", (width, shape.hidden)) for name, width in widths.items()]
    biases = [Weight(f"{prefix}.{name}.bias", (width,)) for name, width in widths.items()]
    norms = [Weight(f"{prefix}.{name}.weight", (attention.head_dim,)) for name in ("q_norm", "k_norm")]
    own = HeadNorms(norms[0], norms[1], shape.norm_epsilon) if shape.normed_heads else None
    qkv = emitter.linear(x, weights, biases if shape.input_bias else ())
    attended = emitter.attend_cached(qkv, layer, replace(attention, window=shape.windows[layer], norms=own))
    output_biases = [Weight(f"{prefix}.o_proj.bias", (shape.hidden,))] if shape.output_bias else ()
    return emitter.linear(attended, [Weight(f"{prefix}.o_proj.weight", (shape.hidden, queries))], output_biases)


def _emit_mlp(emitter: DecoderEmitter[Value], shape: DecoderShape, layer: int, x: Value) -> Value:
    prefix, wide = f"model.layers.{layer}.mlp", (shape.intermediate, shape.hidden)
    gate, up = (Weight(f"{prefix}.{name}.weight", wide) for name in ("gate_proj", "up_proj"))
    down = Weight(f"{prefix}.down_proj.weight", (shape.hidden, shape.intermediate))
    return emitter.linear(emitter.swiglu(x, gate, up), [down])


def _norm(shape: DecoderShape, layer: int) -> Weight:
    """The norm in front of a layer; behind the last layer, the model's own."""
    name = f"layers.{layer}.input_layernorm" if layer < shape.layers else "norm"
    return Weight(f"model.{name}.weight", (shape.hidden,))


def _attention(config: ConfigReader, family: Family, context_tokens: int | None) -> CachedAttention:
    heads = config.integer("num_attention_heads", 1, 4096)
    kv_heads = config.integer("num_key_value_heads", 1, heads, heads)
    if heads % kv_heads:
        raise config.refuse("num_key_value_heads", f"a divisor of num_attention_heads, {heads}")
    width = family.head_dim or config.integer("hidden_size", heads, LARGEST_WIDTH) // heads
    head_dim = config.integer("head_dim", HEAD_DIM_STEP, 1024, width)
    if head_dim % HEAD_DIM_STEP:
        key = "head_dim" if config.has("head_dim") else "hidden_size"
        raise config.refuse(key, f"heads whose width is a multiple of {HEAD_DIM_STEP}, found {head_dim}")
    own_limit = config.integer("max_position_embeddings", FEWEST_POSITIONS, LARGEST_POSITIONS)
    rotary = read_rotary(config, head_dim, own_limit)
    return CachedAttention(heads, kv_heads, head_dim, rotary, min(own_limit, context_tokens or own_limit))


def _windows(config: ConfigReader, family: Family, layers: int, limit: int) -> tuple[int | None, ...]:
    """The sliding window of each layer, None where it would hold the whole context."""
    if family.windows == "none" or (family.windows == "upper" and not config.flag("use_sliding_window", False)):
        if family.windows == "none" and config.has("sliding_window"):
            config.integer("sliding_window", limit, LARGEST_POSITIONS)
        return (None,) * layers
    if family.windows == "all" and "sliding_window" in config.values and not config.has("sliding_window"):
        return (None,) * layers
    asked = config.integer("sliding_window", 1, LARGEST_POSITIONS, 4096)
    window = asked if asked < limit else None
    if family.windows == "all":
        return (window,) * layers
    if config.has("layer_types"):
        kinds = config.choices("layer_types", ("full_attention", "sliding_attention"), layers)
        return tuple(window if kind == "sliding_attention" else None for kind in kinds)
    first = config.integer("max_window_layers", 0, LARGEST_WIDTH, 28)
    return tuple(window if layer >= first else None for layer in range(layers))
