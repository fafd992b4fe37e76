"""The kernels inside a whole model compute what the NumPy emitter computes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import triton

from benchmarks.direct_emitter import Packed, emit_pass, empty_memory
from benchmarks.swiglu_kernel import BLOCK, swiglu
from kernels.launch import TORCH_TYPES
from kernels.w4a16_gemv.reference import dequantise, quantise
from services.executor.models import numpy_emitter
from services.executor.models.checkpoint import open_checkpoint
from services.executor.models.decoder import decoder_shape, emit_decoder
from tests.unit.executor.families import FAMILIES
from tests.unit.executor.folders import llama_folder


@pytest.mark.parametrize(("family", "activation"), [("qwen3 windows", "fp32"), ("qwen2", "bf16")])
def test_the_direct_emitter_computes_the_model(tmp_path: Path, family: str, activation: str) -> None:
    """A prefill, then a single token, on RoPE + append, split attention and add + norm of ours."""
    checkpoint = open_checkpoint(llama_folder(tmp_path, **FAMILIES[family]))
    shape = decoder_shape(checkpoint, 32)
    kind = TORCH_TYPES[activation]
    weights = {
        name: torch.from_numpy(np.array(checkpoint.tensor(name, stored.shape))).to(kind)
        for name, stored in checkpoint.tensors.items()
    }
    tokens = np.random.default_rng(4).integers(0, 256, (1, 7))
    memory, reference = empty_memory(shape, 1, activation, "cpu"), numpy_emitter.empty_memory(2, 1, shape.attention)
    for begin, end in [(0, 6), (6, 7)]:
        chunk = tokens[:, begin:end]
        found = emit_pass(weights, shape, torch.from_numpy(chunk), memory, activation, 80)
        memory.starts += end - begin
        expected = emit_decoder(numpy_emitter.NumpyEmitter(checkpoint, chunk, reference), shape)
        reference.lengths += end - begin
        difference = np.linalg.norm(found.float().numpy() - expected) / np.linalg.norm(expected)
        assert difference < (1e-5 if activation == "fp32" else 0.1)


def test_weights_of_four_bits_are_those_that_were_kept(tmp_path: Path) -> None:
    """The same logits as of the unpacked weights, with biases, layers that are stacked among them."""
    changes = {"hidden_size": 128, "intermediate_size": 128, "num_attention_heads": 4, "head_dim": 32}
    checkpoint = open_checkpoint(llama_folder(tmp_path, **{**FAMILIES["qwen2"], **changes}))
    shape = decoder_shape(checkpoint, 32)
    plain, packed = {}, {}
    for name, stored in checkpoint.tensors.items():
        value = np.array(checkpoint.tensor(name, stored.shape))
        plain[name] = packed[name] = torch.from_numpy(value)
        if "_proj.weight" in name:
            kept, scales = quantise(value, 64)
            packed[name] = Packed(torch.from_numpy(kept), torch.from_numpy(scales))
            plain[name] = torch.from_numpy(dequantise(kept, scales).astype(np.float32))
    tokens = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (1, 5)))
    found, expected = (
        emit_pass(weights, shape, tokens, empty_memory(shape, 1, "fp32", "cpu"), "fp32", 80)
        for weights in (packed, plain)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_gate_has_as_many_blocks_as_it_takes() -> None:
    """The last one is not full; rows follow one another."""
    width = 2 * BLOCK + 52
    both = torch.randn((3, 2 * width), generator=torch.Generator().manual_seed(3))
    gated = torch.full((3, width), float("nan"))
    swiglu[(3, triton.cdiv(width, BLOCK))](both, gated, width, BLOCK)
    gate, up = both.split(width, dim=-1)
    torch.testing.assert_close(gated, torch.nn.functional.silu(gate) * up)
