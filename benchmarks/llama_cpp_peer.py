"""llama.cpp as a peer in benchmarks.executor, where it is installed: the same weights as Q8_0 in GGUF."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import ml_dtypes  # noqa: F401 -- safetensors gives bf16 by it
import numpy as np
from safetensors.numpy import load_file

_Q8 = gguf.GGMLQuantizationType.Q8_0
_silent = llama_cpp.llama_log_callback(lambda level, text, data: None)  # here, so that it lives as long as the library


class LlamaCpp:
    """A model in llama.cpp's own C interface, `llama_decode`, on the CPU.

    Args:
        folder: a Qwen2 checkpoint, as `random_model` writes it; the GGUF file is written beside it.
        threads: of a pass.
        context: tokens of each sequence.
        sequences: how many are decoded at once.
    """

    def __init__(self, folder: Path, threads: int, context: int, sequences: int) -> None:
        llama_cpp.llama_log_set(_silent, None)
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_default_params()
        model.n_gpu_layers = 0
        path = str(_write_gguf(folder)).encode()
        self._model = llama_cpp.llama_model_load_from_file(path, model)
        if not self._model:
            raise RuntimeError(f"llama.cpp does not load {path.decode()}")
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx, settings.n_seq_max = context * sequences, sequences
        settings.n_batch = settings.n_ubatch = 512
        settings.n_threads = settings.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            raise RuntimeError("llama.cpp makes no context")
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._batch = llama_cpp.llama_batch_init(512, 0, 1)

    def run(self, sequences: Sequence[int], positions: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """One pass over these tokens; the likeliest token after the last one of each sequence."""
        batch, lasts = self._batch, {sequence: row for row, sequence in enumerate(sequences)}
        batch.n_tokens = len(tokens)
        for row, (sequence, position, token) in enumerate(zip(sequences, positions, tokens, strict=True)):
            batch.token[row], batch.pos[row], batch.n_seq_id[row] = token, position, 1
            batch.seq_id[row][0] = sequence
            batch.logits[row] = lasts[sequence] == row
        if status := llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode: {status}")
        return [int(self._logits(row).argmax()) for row in lasts.values()]

    def forget(self) -> None:
        """Drops what is kept of all sequences."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def __del__(self) -> None:
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def _logits(self, row: int) -> Any:
        found = llama_cpp.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(found, shape=(self._vocabulary,))


def _write_gguf(folder: Path) -> Path:
    """The checkpoint as llama.cpp's own converter writes it, but for the tokenizer: none is needed."""
    config = json.loads((folder / "config.json").read_text())
    path = folder / "model.gguf"
    out = gguf.GGUFWriter(path, "qwen2")
    out.add_block_count(config["num_hidden_layers"])
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_rope_freq_base(config["rope_theta"])
    out.add_tokenizer_model("none")
    out.add_vocab_size(config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        values, known_as = tensor.astype(np.float32), names.get_name(name, (".weight", ".bias"))
        if values.ndim == 1:
            out.add_tensor(known_as, values)
        else:
            out.add_tensor(known_as, gguf.quants.quantize(values, _Q8), raw_dtype=_Q8)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path
