"""A model folder with random weights, for measuring what depends on sizes alone."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

QWEN_HALF_BILLION: dict[str, Any] = {  # Qwen2.5-0.5B's config.json
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_act": "silu",
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
}
STANDARD_DEVIATION = 0.02
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def write_random_model(folder: Path, seed: int, layers: int = QWEN_HALF_BILLION["num_hidden_layers"]) -> Path:
    """Writes normal weights in bf16, and a tokenizer whose token 7 is the word `w7`; returns `folder`."""
    config = QWEN_HALF_BILLION | {"num_hidden_layers": layers}
    rng = np.random.default_rng(seed)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: _random(rng, shape) for name, shape in _shapes(config).items()}, folder / "model.safetensors")
    words = {f"w{token}": token for token in range(config["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        for name, width in {"q_proj": hidden, "k_proj": keys, "v_proj": keys}.items():
            shapes[f"{prefix}.self_attn.{name}.weight"] = (width, hidden)
            shapes[f"{prefix}.self_attn.{name}.bias"] = (width,)
        shapes |= {
            f"{prefix}.self_attn.o_proj.weight": (hidden, hidden),
            f"{prefix}.mlp.gate_proj.weight": (wide, hidden),
            f"{prefix}.mlp.up_proj.weight": (wide, hidden),
            f"{prefix}.mlp.down_proj.weight": (hidden, wide),
            f"{prefix}.input_layernorm.weight": (hidden,),
            f"{prefix}.post_attention_layernorm.weight": (hidden,),
        }
    return shapes | {"model.norm.weight": (hidden,)}


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Norms are near 1, all else near 0."""
    drawn = rng.standard_normal(shape, np.float32) * np.float32(STANDARD_DEVIATION)
    is_norm = len(shape) == 1 and shape[0] == QWEN_HALF_BILLION["hidden_size"]
    return (drawn + np.float32(is_norm)).astype(ml_dtypes.bfloat16)
