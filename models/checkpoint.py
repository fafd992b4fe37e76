"""Writes a trained network as the folder that transformers, and Fulcrum's executor, load."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from models import chat
from models.network import Network, Shape, hugging_face_weights


@dataclass(frozen=True)
class Cost:
    """What a training run took."""

    steps: int
    tokens: int
    cpu_seconds: float
    wall_seconds: float
    parameters: int


def write(folder: Path, network: Network, cost: Cost) -> None:
    """Every file of the checkpoint but its card, and the cost for the card."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hugging_face_weights(network), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    _tokenizer().save(str(folder / "tokenizer.json"))
    _write_json(folder / "config.json", _config(network.shape))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(network.shape))
    _write_json(folder / "generation_config.json", {"do_sample": False, "max_new_tokens": 24, **_ends()})
    _write_json(folder / "training_cost.json", vars(cost))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def _ends() -> dict[str, int]:
    return {"eos_token_id": chat.END, "pad_token_id": chat.PAD}


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.norm_eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "bos_token_id": None,
        **_ends(),
    }


def _tokenizer() -> Tokenizer:
    vocabulary = {symbol: byte for byte, symbol in enumerate(chat.byte_symbols())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in chat.SPECIAL_TOKENS])
    return tokenizer


def _tokenizer_config(shape: Shape) -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"],
        "model_max_length": shape.context,
        "clean_up_tokenization_spaces": False,
        "chat_template": chat.TEMPLATE,
    }
