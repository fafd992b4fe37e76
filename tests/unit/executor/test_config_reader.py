"""A decoder's configuration is read strictly: a value that it cannot have is refused by key, value and expectation."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.executor.models.checkpoint import InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import decoder_shape
from tests.unit.executor.families import LLAMA3, YARN
from tests.unit.executor.folders import llama_folder

ROPE = "rope_parameters"
UNREADABLE: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "gpt2"}, "model_type is 'gpt2', expected one of llama, mistral, qwen2, qwen3"),
    ({"model_type": ["llama"]}, r"model_type is \['llama'\]"),
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu', expected one of silu"),
    ({"mlp_bias": True}, "mlp_bias is True, expected false"),
    ({"mlp_bias": 0}, "mlp_bias is 0, expected true or false"),
    ({"attention_bias": "no"}, "attention_bias is 'no', expected true or false"),
    ({"tie_word_embeddings": 1}, "tie_word_embeddings is 1"),
    ({"sliding_window": 16}, "sliding_window is 16, expected an integer of 64 to"),
    ({"model_type": "mistral", "sliding_window": 0}, "sliding_window is 0, expected an integer of 1 to"),
    ({"hidden_size": None}, "hidden_size is missing, expected an integer of 4 to"),
    ({"hidden_size": [48]}, r"hidden_size is \[48\]"),
    ({"hidden_size": 48.0}, "hidden_size is 48.0"),
    ({"vocab_size": True}, "vocab_size is True"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected an integer of 1 to 1024"),
    ({"num_attention_heads": 0}, "num_attention_heads is 0"),
    ({"num_key_value_heads": 3}, "num_key_value_heads is 3, expected a divisor of num_attention_heads, 4"),
    ({"head_dim": 24}, "head_dim is 24, expected heads whose width is a multiple of 16"),
    ({"max_position_embeddings": 1}, "max_position_embeddings is 1, expected an integer of 16 to"),
    ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
    ({"rms_norm_eps": -1.0}, "rms_norm_eps is -1.0"),
    ({"rope_theta": 10**400}, r"rope_theta is 10{79}\.\.\., expected a number of 1.5 to 1e\+15"),
    ({"rope_theta": float("inf")}, "rope_theta is inf"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    ({"rope_scaling": "yarn"}, "rope_scaling is 'yarn', expected an object"),
    ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, r"rope_scaling\.type is 'dynamic', expected one of default"),
    ({ROPE: YARN | {"attention_factor": 1e308}}, r"rope_parameters\.attention_factor is 1e\+308"),
    ({ROPE: YARN | {"factor": 0}}, r"rope_parameters\.factor is 0"),
    ({ROPE: YARN | {"beta_fast": "32"}}, r"rope_parameters\.beta_fast is '32'"),
    ({ROPE: LLAMA3 | {"high_freq_factor": 1.0}}, r"high_freq_factor is 1.0, expected more than low_freq_factor, 1"),
    ({ROPE: LLAMA3 | {"low_freq_factor": None}}, r"rope_parameters\.low_freq_factor is missing"),
    (
        {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 5, "layer_types": ["full_attention"]},
        "layer_types is .*, expected a list of 2",
    ),
]


@pytest.mark.parametrize(("changes", "complaint"), UNREADABLE)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    """Key, value and expectation are named."""
    folder = llama_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(InvalidCheckpoint, match=rf"config\.json: .*{complaint}"):
        decoder_shape(open_checkpoint(folder))


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({"model_type": "mistral", "sliding_window": 7}, (7, 7)),
        ({"model_type": "mistral", "sliding_window": 64}, (None, None)),
        ({"model_type": "mistral", "max_position_embeddings": 8192}, (4096, 4096)),
        ({"model_type": "mistral", "sliding_window": None, "max_position_embeddings": 8192}, (None, None)),
        ({"model_type": "qwen2", "sliding_window": 7}, (None, None)),
        ({"model_type": "qwen2", "sliding_window": 7, "use_sliding_window": True, "max_window_layers": 1}, (None, 7)),
    ],
)
def test_windows_by_family(tmp_path: Path, changes: dict[str, Any], windows: tuple[int | None, ...]) -> None:
    """A sliding window counts where transformers counts it, by family and layer."""
    assert decoder_shape(open_checkpoint(llama_folder(tmp_path, **changes))).windows == windows
