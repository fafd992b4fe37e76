"""Runs in a process of its own with TensorRT's real bindings over stub libraries; holds emitted networks to NumPy's.

Output: one JSON object: by case the largest relative difference from the NumPy emitter, and the layers used.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16, float8_e4m3fn

from kernels import tensorrt_plugins
from services.executor.models.checkpoint import Checkpoint, open_checkpoint
from services.executor.models.decoder import DecoderShape, decoder_shape, emit_decoder
from services.executor.models.encoder import emit_encoder, encoder_shape
from services.executor.models.numpy_emitter import NumpyEmitter, empty_memory
from services.executor.models.tensorrt_attention import KEY_POSITIONS, NEW_LENGTHS, STARTS, TABLE, memory_names
from services.executor.models.tensorrt_emitter import (
    EMBEDDINGS,
    LOGITS,
    TOKENS,
    emit_decoder_network,
    emit_encoder_network,
)
from services.executor.models.tensorrt_graph import TensorRtGraph
from services.executor.models.tensorrt_linear import Precision
from tests.kernels.network_fake import Network
from tests.kernels.network_values import Bindings
from tests.kernels.plugins_fake import Plugins
from tests.kernels.stub_bindings import load
from tests.unit.executor.families import FAMILIES
from tests.unit.executor.folders import bert_folder, llama_folder

trt, trtp = load()
SLOTS = 4
ARCHITECTURE = 90


ACTIVATIONS = {"fp32": np.float32, "fp16": np.float16, "bf16": bfloat16}


def _graph(network: Network, activation: str) -> TensorRtGraph:
    return TensorRtGraph(Bindings(trt), network, Plugins(trtp._lib.QDP_REGISTRY), activation, ARCHITECTURE)


def _feeds(rows: Sequence[Sequence[int]], starts: Sequence[int], slots: Sequence[int], memory: dict[str, Any]) -> Any:
    tokens = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for row, given in enumerate(rows):
        tokens[row, : len(given)] = given
    new = np.array([len(row) for row in rows], np.int32)
    span = np.arange(max(np.array(starts) + tokens.shape[1]), dtype=np.int32)
    places = {STARTS: np.array(starts, np.int32), NEW_LENGTHS: new, TABLE: np.array(slots, np.int32)[:, None]}
    return {TOKENS: tokens, KEY_POSITIONS: span, **places, **memory}


def _decoder(folder: Path, precision: Precision, activation: str, called: set[str]) -> float:
    """Ragged prefill into slots in any order, a second chunk, then one token a row, against each row by itself."""
    checkpoint = open_checkpoint(folder)
    shape = decoder_shape(checkpoint, 32)
    attention, slots, numbers = shape.attention, [2, 0, 3], np.random.default_rng(5)
    buffer = (SLOTS, attention.kv_heads, attention.max_positions, attention.head_dim)
    memory = {name: np.zeros(buffer, ACTIVATIONS[activation]) for name, _ in memory_names(shape.layers)}
    references = [empty_memory(shape.layers, 1, attention) for _ in slots]
    starts, worst = [0, 0, 0], 0.0
    for lengths in ([5, 3, 1], [2, 4, 3], [1, 1, 1], [1, 1, 1]):
        rows = [numbers.integers(0, 256, length).tolist() for length in lengths]
        network = Network(trt, _feeds(rows, starts, slots, memory))
        emit_decoder_network(_graph(network, activation), checkpoint, shape, precision, SLOTS)
        memory = {name: network.outputs[out] for name, out in memory_names(shape.layers)}
        called |= network.called
        for row, (tokens, kept) in enumerate(zip(rows, references, strict=True)):
            expected = _reference(checkpoint, shape, precision, ACTIVATIONS[activation], tokens, kept)
            worst = max(worst, _difference(network.outputs[LOGITS][row], expected))
        starts = [start + length for start, length in zip(starts, lengths, strict=True)]
    return worst


class Rounded(NumpyEmitter):
    """The reference with inputs and weights of linear layers rounded as a precision says, by scales of a type."""

    precision = Precision()
    kind: Any = np.float32

    def linear(self, x: Any, weights: Any, biases: Any = ()) -> Any:
        weight = np.concatenate([self._read(part) for part in weights])
        plain, kind = weight.astype(self.kind).astype(np.float32), self.precision.kind
        if kind == "int4":
            steps = np.abs(weight.reshape(len(weight), -1, 128)).max(-1, keepdims=True) / 7
            weight = self._rounded(plain.reshape(len(weight), -1, 128), steps).reshape(weight.shape)
        elif kind != "full":
            most = 127 if kind == "int8" else 448
            weight = self._rounded(plain, np.abs(weight).max(1, keepdims=True) / most)
            x = self._rounded(x, self.precision.largest_inputs[weights[0].name] / most)
        product = x @ weight.T
        return product + np.concatenate([self._read(part) for part in biases]) if biases else product

    def _rounded(self, values: Any, step: Any) -> Any:
        step, kind = np.asarray(step).astype(self.kind).astype(np.float32), self.precision.kind
        if kind == "fp8":
            return np.clip(values / step, -448, 448).astype(float8_e4m3fn).astype(np.float32) * step
        return np.clip(np.rint(values / step), *((-128, 127) if kind == "int8" else (-8, 7))) * step


def _reference(
    checkpoint: Checkpoint, shape: DecoderShape, precision: Precision, kind: Any, tokens: Sequence[int], kept: Any
) -> Any:
    emitter = Rounded(checkpoint, np.array([tokens]), kept)
    emitter.precision, emitter.kind = precision, kind
    logits = emit_decoder(emitter, shape)[0]
    kept.lengths += len(tokens)
    return logits


def _encoder(folder: Path, activation: str, called: set[str]) -> float:
    checkpoint = open_checkpoint(folder)
    shape, rows = encoder_shape(checkpoint), np.random.default_rng(0).integers(0, 256, (3, 17)).astype(np.int32)
    network = Network(trt, {TOKENS: rows})
    emit_encoder_network(_graph(network, activation), checkpoint, shape, Precision())
    called |= network.called
    return _difference(network.outputs[EMBEDDINGS], emit_encoder(NumpyEmitter(checkpoint, rows), shape))


def _difference(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def _cases(root: Path, called: set[str]) -> dict[str, Callable[[], float]]:
    largest = {f"model.layers.{layer}.{name}.weight": 8.0 for layer in range(4) for name in INPUTS}
    largest |= {"model.embed_tokens.weight": 8.0, "lm_head.weight": 8.0}
    wide = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    quantised = {
        "int8": ({}, Precision("int8", largest)),
        "fp8": ({}, Precision("fp8", largest)),
        "int4": ({"head_dim": 32, **wide}, Precision("int4")),
    }
    cases: dict[str, tuple[dict[str, Any], Precision, str]] = {
        f"{kind} {activation}": (*case, activation) for kind, case in quantised.items() for activation in ACTIVATIONS
    }
    cases |= {name: (changes, Precision(), "fp32") for name, changes in FAMILIES.items()}
    cases |= {f"full {activation}": (FAMILIES["qwen3 windows"], Precision(), activation) for activation in ACTIVATIONS}

    def decoder(name: str) -> float:
        changes, precision, activation = cases[name]
        return _decoder(llama_folder(_made(root / name), **changes), precision, activation, called)

    def encoder(pooling: str, activation: str) -> float:
        return _encoder(bert_folder(_made(root / f"{pooling} {activation}"), pooling), activation, called)

    return {
        **{name: partial(decoder, name) for name in cases},
        **{
            f"bert {pooling} {activation}": partial(encoder, pooling, activation)
            for pooling in ("mean", "cls")
            for activation in ACTIVATIONS
        },
    }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


INPUTS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")


if __name__ == "__main__":
    tensorrt_plugins.register(trt, trtp)
    layers: set[str] = set()
    with tempfile.TemporaryDirectory() as made:
        errors = {name: case() for name, case in _cases(Path(made), layers).items()}
    print(json.dumps({"errors": errors, "called": sorted(layers)}))
