"""The Llama family, written once: config to shape, shape to operators."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.executor.models.checkpoint import Checkpoint, InvalidCheckpoint
from services.executor.models.emitter import CachedAttention, DecoderEmitter, Value, Weight

FAMILIES = ("llama", "mistral", "qwen2")


@dataclass(frozen=True)
class DecoderShape:
    """Sizes and switches of one decoder."""

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    norm_epsilon: float
    attention: CachedAttention
    attention_bias: bool
    output_bias: bool
    tied_embeddings: bool


def decoder_shape(checkpoint: Checkpoint, context_tokens: int | None = None) -> DecoderShape:
    """Reads the shape from `config.json`; `context_tokens` lowers the model's own limit.

    Raises:
        InvalidCheckpoint: a key is missing, or asks for what this definition does not do.
    """
    config = checkpoint.config
    family = config.get("model_type")
    _expect(checkpoint, "model_type", family in FAMILIES, f"one of {', '.join(FAMILIES)}")
    _expect(checkpoint, "hidden_act", config.get("hidden_act") == "silu", "silu")
    _expect(checkpoint, "mlp_bias", not config.get("mlp_bias"), "false")
    biased = bool(config.get("attention_bias", family == "qwen2"))
    try:
        own_limit = int(config["max_position_embeddings"])
        limit = min(own_limit, context_tokens or own_limit)
        window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
        _expect(checkpoint, "sliding_window", window is None or window >= limit, f"null or at least {limit}")
        attention = CachedAttention(
            heads=int(config["num_attention_heads"]),
            kv_heads=int(config.get("num_key_value_heads") or config["num_attention_heads"]),
            head_dim=int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]),
            rope_theta=_rope_theta(checkpoint),
            max_positions=limit,
        )
        return DecoderShape(
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            intermediate=int(config["intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            norm_epsilon=float(config["rms_norm_eps"]),
            attention=attention,
            attention_bias=biased,
            output_bias=biased and family != "qwen2",
            tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise InvalidCheckpoint(f"{checkpoint.folder / 'config.json'}: {error.args[0]} is missing") from None


def emit_decoder(emitter: DecoderEmitter[Value], shape: DecoderShape) -> Value:
    """Logits `[rows, vocabulary]` of each row's last position."""
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
    qkv = emitter.linear(x, weights, biases if shape.attention_bias else ())
    attended = emitter.attend_cached(qkv, layer, attention)
    output_biases = [Weight(f"{prefix}.o_proj.bias", (shape.hidden,))] if shape.output_bias else ()
    return emitter.linear(attended, [Weight(f"{prefix}.o_proj.weight", (shape.hidden, queries))], output_biases)


def _emit_mlp(emitter: DecoderEmitter[Value], shape: DecoderShape, layer: int, x: Value) -> Value:
    prefix, wide = f"model.layers.{layer}.mlp", (shape.intermediate, shape.hidden)
    gate_up = emitter.linear(x, [Weight(f"{prefix}.{name}.weight", wide) for name in ("gate_proj", "up_proj")])
    down = Weight(f"{prefix}.down_proj.weight", (shape.hidden, shape.intermediate))
    return emitter.linear(emitter.swiglu(gate_up), [down])


def _norm(shape: DecoderShape, layer: int) -> Weight:
    """The norm in front of a layer; behind the last layer, the model's own."""
    name = f"layers.{layer}.input_layernorm" if layer < shape.layers else "norm"
    return Weight(f"model.{name}.weight", (shape.hidden,))


def _rope_theta(checkpoint: Checkpoint) -> float:
    config = checkpoint.config
    rope: Mapping[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    _expect(checkpoint, "rope_scaling", kind == "default", "default rotary embeddings")
    return float(rope.get("rope_theta", config.get("rope_theta", 10_000.0)))


def _expect(checkpoint: Checkpoint, key: str, held: bool, expected: str) -> None:
    if not held:
        found = checkpoint.config.get(key)
        raise InvalidCheckpoint(f"{checkpoint.folder / 'config.json'}: {key} is {found!r}, expected {expected}")
