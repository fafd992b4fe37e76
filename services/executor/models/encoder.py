"""The BERT family of sentence encoders, written once: a sentence-transformers folder to shape, shape to operators."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.executor.models.checkpoint import FILE_NAME, Checkpoint, InvalidCheckpoint, parse_json, read_json
from services.executor.models.config_reader import ConfigReader
from services.executor.models.emitter import EncoderEmitter, Value, Weight

FAMILIES = ("bert", "roberta", "xlm-roberta")
LARGEST_WIDTH = 1_048_576
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
    folder = checkpoint.folder
    config = ConfigReader(folder / "config.json", checkpoint.config)
    family = config.choice("model_type", FAMILIES)
    config.choice("hidden_act", ["gelu"])
    config.choice("position_embedding_type", ["absolute"], "absolute")
    positions = config.integer("max_position_embeddings", 4, LARGEST_WIDTH)
    vocabulary = config.integer("vocab_size", 4, LARGEST_WIDTH)
    first_position = 0 if family == "bert" else config.integer("pad_token_id", 0, min(vocabulary, positions) - 2) + 1
    heads = config.integer("num_attention_heads", 1, 4096)
    hidden = config.integer("hidden_size", heads, LARGEST_WIDTH)
    if hidden % heads:
        raise config.refuse("hidden_size", f"a multiple of num_attention_heads, {heads}")
    return EncoderShape(
        prefix=_prefix(checkpoint),
        layers=config.integer("num_hidden_layers", 1, 1024),
        hidden=hidden,
        intermediate=config.integer("intermediate_size", 1, LARGEST_WIDTH),
        heads=heads,
        vocabulary=vocabulary,
        positions=positions,
        first_position=first_position,
        token_types=config.integer("type_vocab_size", 1, 1024),
        norm_epsilon=config.number("layer_norm_eps", 1e-15, 0.1),
        pooling=_pooling(folder),
        max_tokens=_max_tokens(folder, positions - first_position),
    )


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
    module = _pooling_module(folder)
    config = ConfigReader(folder / module / "config.json", read_json(folder / module / "config.json"))
    if config.has("pooling_mode"):
        return _known_pooling(config.choice("pooling_mode", ["mean", "cls"]))
    names = [name for name in config.values if name.startswith("pooling_mode_") and config.flag(name, False)]
    modes = [name.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for name in names]
    if modes not in (["mean"], ["cls"]):
        raise InvalidCheckpoint(f"{config.path}: pooling_mode is {'+'.join(modes)!r}, expected mean or cls alone")
    return _known_pooling(modes[0])


def _known_pooling(mode: str) -> Pooling:
    return "mean" if mode == "mean" else "cls"


def _pooling_module(folder: Path) -> str:
    """The folder of the pooling in `modules.json`, which must name a transformer, a pooling and no more than a norm."""
    path = folder / "modules.json"
    listed = parse_json(path)
    if not isinstance(listed, list):
        raise InvalidCheckpoint(f"{path}: holds {type(listed).__name__}, expected a list")
    modules = [ConfigReader(path, one if isinstance(one, dict) else {}, f"{at}.") for at, one in enumerate(listed)]
    kinds = [module.text("type").rsplit(".", 1)[-1] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise InvalidCheckpoint(f"{path}: type is {kinds}, expected Transformer, Pooling and optionally Normalize")
    place = modules[1].text("path")
    if not FILE_NAME.fullmatch(place):
        raise modules[1].refuse("path", "a folder inside the model's")
    return place


def _max_tokens(folder: Path, positions: int) -> int:
    path = folder / "sentence_bert_config.json"
    config = ConfigReader(path, read_json(path) if path.exists() else {})
    if config.flag("do_lower_case", False):
        raise config.refuse("do_lower_case", "false: the tokenizer lowers the case where the model asks")
    tokenizer = folder / "tokenizer_config.json"
    if config.has("max_seq_length"):
        return min(positions, config.integer("max_seq_length", 4, LARGEST_WIDTH))
    own = ConfigReader(tokenizer, read_json(tokenizer) if tokenizer.exists() else {})
    return int(min(positions, own.number("model_max_length", 4, math.inf, positions)))
