"""The BERT family of sentence encoders, written once: a sentence-transformers folder to shape, shape to operators."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from services.executor.models.checkpoint import Checkpoint, InvalidCheckpoint, read_json
from services.executor.models.emitter import EncoderEmitter, Value, Weight

FAMILIES = ("bert", "roberta", "xlm-roberta")
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of one encoder and how it makes one vector of a text."""

    prefix: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    positions: int
    first_position: int
    token_types: int
    norm_epsilon: float
    pooling: Pooling
    max_tokens: int


def encoder_shape(checkpoint: Checkpoint) -> EncoderShape:
    """Reads the shape from `config.json`, `modules.json` and what that names.

    Raises:
        InvalidCheckpoint: a key or file is missing, or asks for what this definition does not do.
    """
    config, folder = checkpoint.config, checkpoint.folder
    family = config.get("model_type")
    _expect(folder / "config.json", "model_type", family, family in FAMILIES, f"one of {', '.join(FAMILIES)}")
    activation = config.get("hidden_act")
    _expect(folder / "config.json", "hidden_act", activation, activation == "gelu", "gelu")
    placing = config.get("position_embedding_type", "absolute")
    _expect(folder / "config.json", "position_embedding_type", placing, placing == "absolute", "absolute")
    try:
        positions = int(config["max_position_embeddings"])
        first_position = 0 if family == "bert" else int(config["pad_token_id"]) + 1
        return EncoderShape(
            prefix=_prefix(checkpoint),
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            intermediate=int(config["intermediate_size"]),
            heads=int(config["num_attention_heads"]),
            vocabulary=int(config["vocab_size"]),
            positions=positions,
            first_position=first_position,
            token_types=int(config["type_vocab_size"]),
            norm_epsilon=float(config["layer_norm_eps"]),
            pooling=_pooling(folder),
            max_tokens=_max_tokens(folder, positions - first_position),
        )
    except KeyError as error:
        raise InvalidCheckpoint(f"{folder / 'config.json'}: {error.args[0]} is missing") from None


def emit_encoder(emitter: EncoderEmitter[Value], shape: EncoderShape) -> Value:
    """Embeddings `[rows, hidden]` of Euclidean length 1."""
    prefix = f"{shape.prefix}embeddings"
    words = Weight(f"{prefix}.word_embeddings.weight", (shape.vocabulary, shape.hidden))
    places = Weight(f"{prefix}.position_embeddings.weight", (shape.positions, shape.hidden))
    types = Weight(f"{prefix}.token_type_embeddings.weight", (shape.token_types, shape.hidden))
    place = emitter.first_positions(emitter.tokens, places, shape.first_position, types)
    x = _add_norm(emitter, shape, emitter.embed(emitter.tokens, words), place, f"{prefix}.LayerNorm")
    for layer in range(shape.layers):
        x = _emit_layer(emitter, shape, f"{shape.prefix}encoder.layer.{layer}", x)
    pooled = emitter.mean(x) if shape.pooling == "mean" else emitter.first(x)
    return emitter.unit_length(pooled)


def _emit_layer(emitter: EncoderEmitter[Value], shape: EncoderShape, prefix: str, x: Value) -> Value:
    parts = [f"{prefix}.attention.self.{part}" for part in ("query", "key", "value")]
    qkv = _linear(emitter, x, parts, shape.hidden, shape.hidden)
    attended = emitter.attend(qkv, shape.heads)
    out = _linear(emitter, attended, [f"{prefix}.attention.output.dense"], shape.hidden, shape.hidden)
    x = _add_norm(emitter, shape, out, x, f"{prefix}.attention.output.LayerNorm")
    wide = _linear(emitter, x, [f"{prefix}.intermediate.dense"], shape.intermediate, shape.hidden)
    narrow = _linear(emitter, emitter.gelu(wide), [f"{prefix}.output.dense"], shape.hidden, shape.intermediate)
    return _add_norm(emitter, shape, narrow, x, f"{prefix}.output.LayerNorm")


def _linear(emitter: EncoderEmitter[Value], x: Value, names: Sequence[str], out: int, features: int) -> Value:
    weights = [Weight(f"{name}.weight", (out, features)) for name in names]
    return emitter.linear(x, weights, [Weight(f"{name}.bias", (out,)) for name in names])


def _add_norm(emitter: EncoderEmitter[Value], shape: EncoderShape, x: Value, residual: Value, name: str) -> Value:
    weight, bias = Weight(f"{name}.weight", (shape.hidden,)), Weight(f"{name}.bias", (shape.hidden,))
    return emitter.add_layer_norm(x, residual, weight, bias, shape.norm_epsilon)


def _prefix(checkpoint: Checkpoint) -> str:
    """What stands before `embeddings.`: nothing, or the name of the model inside a larger one."""
    ending = "embeddings.word_embeddings.weight"
    name = next((name for name in checkpoint.tensors if name.endswith(ending)), ending)
    return name.removesuffix(ending)


def _pooling(folder: Path) -> Pooling:
    modules: list[dict[str, str]] = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kinds = [module["type"].rsplit(".", 1)[-1] for module in modules]
    expected = "Transformer, Pooling and optionally Normalize"
    _expect(folder / "modules.json", "type", kinds, kinds[:2] == ["Transformer", "Pooling"], expected)
    _expect(folder / "modules.json", "type", kinds, kinds[2:] in ([], ["Normalize"]), expected)
    path = folder / modules[1]["path"] / "config.json"
    config = read_json(path)
    modes = config.get("pooling_mode") or [
        name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for name, chosen in config.items()
        if name.startswith("pooling_mode_") and chosen
    ]
    mode = modes[0] if isinstance(modes, list) and len(modes) == 1 else modes
    if mode == "mean":
        return "mean"
    _expect(path, "pooling_mode", mode, mode == "cls", "mean or cls alone")
    return "cls"


def _max_tokens(folder: Path, positions: int) -> int:
    path = folder / "sentence_bert_config.json"
    config = read_json(path) if path.exists() else {}
    lowered = config.get("do_lower_case", False)
    _expect(path, "do_lower_case", lowered, not lowered, "false: the tokenizer lowers the case where the model asks")
    own_limit = config.get("max_seq_length")
    tokenizer = folder / "tokenizer_config.json"
    if own_limit is None and tokenizer.exists():
        own_limit = read_json(tokenizer).get("model_max_length")
    return min(positions, int(own_limit or positions))


def _expect(path: Path, key: str, found: Any, held: bool, expected: str) -> None:
    if not held:
        raise InvalidCheckpoint(f"{path}: {key} is {found!r}, expected {expected}")
