"""Tiny model folders with random weights, written to disk as Hugging Face lays them out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

END, USER, ASSISTANT = 256, 257, 258
VOCABULARY = 260
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
    "<|user|>{{ message['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "eos_token_id": END,
}
BERT: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "pad_token_id": 1,
    "layer_norm_eps": 1e-12,
}


def llama_folder(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A decoder; `changes` go into its config.json."""
    config = LLAMA | changes
    _write(folder, config, llama_weights(config, seed))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "chat_template": TEMPLATE}))
    return folder


def bert_folder(folder: Path, pooling: str = "mean", max_tokens: int | None = 24, **changes: Any) -> Path:
    """A sentence encoder; `changes` go into its config.json."""
    config = BERT | changes
    _write(folder, config, bert_weights(config))
    modules = [{"path": "", "type": "m.Transformer"}, {"path": "1_Pooling", "type": "m.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    if max_tokens is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": max_tokens}))
    return folder


def llama_weights(config: Mapping[str, Any], seed: int) -> dict[str, NDArray[np.float32]]:
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, hidden),
        "model.norm.weight": (hidden,),
    }
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (VOCABULARY, hidden)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for name, width in {"q_proj": queries, "k_proj": keys, "v_proj": keys}.items():
            shapes[f"{prefix}.self_attn.{name}.weight"] = (width, hidden)
            if config["model_type"] == "qwen2" or config.get("attention_bias"):
                shapes[f"{prefix}.self_attn.{name}.bias"] = (width,)
        if config.get("attention_bias"):
            shapes[f"{prefix}.self_attn.o_proj.bias"] = (hidden,)
        if config["model_type"] == "qwen3":
            shapes |= {f"{prefix}.self_attn.{name}.weight": (config["head_dim"],) for name in ("q_norm", "k_norm")}
        shapes |= {
            f"{prefix}.input_layernorm.weight": (hidden,),
            f"{prefix}.post_attention_layernorm.weight": (hidden,),
            f"{prefix}.self_attn.o_proj.weight": (hidden, queries),
            f"{prefix}.mlp.gate_proj.weight": (wide, hidden),
            f"{prefix}.mlp.up_proj.weight": (wide, hidden),
            f"{prefix}.mlp.down_proj.weight": (hidden, wide),
        }
    return _random(shapes, seed)


def bert_weights(config: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, hidden),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        squares = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
        linears = dict.fromkeys(squares, (hidden, hidden))
        linears |= {"intermediate.dense": (wide, hidden), "output.dense": (hidden, wide)}
        for name, (out, features) in linears.items():
            shapes |= {f"{prefix}.{name}.weight": (out, features), f"{prefix}.{name}.bias": (out,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{prefix}.{name}.weight": (hidden,), f"{prefix}.{name}.bias": (hidden,)}
    return _random(shapes, 1)


def byte_tokenizer() -> Tokenizer:
    """A token a byte, then the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), key=_byte_of)
    tokenizer = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>", "<|user|>", "<|assistant|>"])
    return tokenizer


def _byte_of(symbol: str) -> int:
    """GPT-2's table: printable bytes stand for themselves, the others follow from character 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return ord(symbol) if ord(symbol) < 256 else others[ord(symbol) - 256]


def _random(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    scale = {1: 0.3, 2: 0.2}
    offset = {name: 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0 for name in shapes}
    return {
        name: (offset[name] + scale[len(shape)] * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def _write(folder: Path, config: Mapping[str, Any], weights: Mapping[str, NDArray[np.float32]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(weights), folder / "model.safetensors")
    byte_tokenizer().save(str(folder / "tokenizer.json"))
