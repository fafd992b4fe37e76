"""Changes to a tiny config.json that make one decoder of every family and switch, for all that must hold of each."""

from typing import Any

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 10_000.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10_000.0}
QWEN2 = {"model_type": "qwen2", "use_sliding_window": True}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama untied": {"tie_word_embeddings": False, "num_key_value_heads": 4, "rope_theta": 5e5},
    "llama biased": {"attention_bias": True},
    "llama3 rope": {"rope_parameters": LLAMA3},
    "llama linear rope": {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "smollm": {"hidden_size": 144, "num_attention_heads": 9, "num_key_value_heads": 3},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "mistral window": {"model_type": "mistral", "sliding_window": 7},
    "qwen2": {"model_type": "qwen2", "num_key_value_heads": 1},
    "qwen2 yarn": {"model_type": "qwen2", "rope_parameters": YARN},
    "qwen2 yarn factors": {"model_type": "qwen2", "rope_parameters": YARN | {"mscale": 0.7, "mscale_all_dim": 1.2}},
    "qwen2 windows": QWEN2 | {"sliding_window": 7, "max_window_layers": 1},
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": False},
    "qwen3 biased": {"model_type": "qwen3", "attention_bias": True},
    "qwen3 windows": {
        "model_type": "qwen3",
        "use_sliding_window": True,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}
