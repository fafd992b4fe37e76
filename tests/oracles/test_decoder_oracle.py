"""Our decoder and prompts against transformers, on the reference models and on random ones of each family."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from services.executor.chat_text import ChatText
from services.executor.decoder_session import DecoderSession
from services.executor.engine import GenerateRequest, Message, Sampling, TextDelta
from services.executor.models.onnx_linear import full_linear
from services.executor.onnx_engine import OnnxEngine
from services.executor.settings import LocalModel
from tests.oracles.prompts import passages, questions
from tests.unit.executor.families import FAMILIES
from tests.unit.executor.folders import VOCABULARY, llama_folder

LONGEST_ANSWER = 24


@pytest.fixture(scope="module", params=["fulcrum-small", "fulcrum-large"])
def folder(request: pytest.FixtureRequest) -> Path:
    path = Path("models") / request.param
    if not path.exists():
        pytest.skip(f"{path} is absent: it has not been trained yet")
    return path


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    return [*questions(60, seed=5), *(text[:400] for text in passages(20, seed=5))]


def test_prompts_equal(folder: Path, prompts: list[str]) -> None:
    """Chat template and tokenizer give the token ids that transformers gives."""
    text, tokenizer = ChatText(folder), PreTrainedTokenizerFast.from_pretrained(folder)
    for prompt in prompts:
        turns = [{"role": "system", "content": "Answer."}, {"role": "user", "content": prompt}]
        expected = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert text.encode([Message("system", "Answer."), Message("user", prompt)]) == expected


def test_logits_equal(folder: Path, oracle: Any, prompts: list[str]) -> None:
    """Prefill and every decoding step: logits differ from transformers' by at most 1e-3."""
    session, text = DecoderSession(folder, full_linear, threads=2), ChatText(folder)
    largest = 0.0
    for prompt in prompts:
        tokens = text.encode([Message("user", prompt)])
        rows = [session.logits_after(tokens, 0)]
        for _ in range(8):
            tokens.append(int(rows[-1].argmax()))
            rows.append(session.logits_after(tokens[-1:], len(tokens) - 1))
        with torch.inference_mode():
            expected = oracle(torch.tensor([tokens])).logits[0, -len(rows) :].numpy()
        largest = max(largest, float(np.abs(np.stack(rows) - expected).max()))
    print(f"{folder.name}: largest difference of a logit {largest:.2e}")
    assert largest <= 1e-3


def test_greedy_text_equal(folder: Path, oracle: Any, prompts: list[str]) -> None:
    """Every prompt gets the text that transformers generates greedily."""
    tokenizer, text = PreTrainedTokenizerFast.from_pretrained(folder), ChatText(folder)
    for prompt, answer in zip(prompts, asyncio.run(answers(folder, prompts)), strict=True):
        tokens = torch.tensor([text.encode([Message("user", prompt)])])
        with torch.inference_mode():
            generated = oracle.generate(tokens, max_new_tokens=LONGEST_ANSWER, do_sample=False)
        assert answer == tokenizer.decode(generated[0, tokens.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_families_equal_transformers(tmp_path: Path, name: str) -> None:
    """Random decoders of each family and switch give transformers' logits, behind a prompt and while decoding."""
    folder = llama_folder(tmp_path, **FAMILIES[name])
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 48).tolist()
    with torch.inference_mode():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        expected = model(torch.tensor([tokens])).logits[0, 39:].numpy()
    session = DecoderSession(folder, full_linear, threads=1)
    found = [session.logits_after(tokens[:40], 0)]
    found += [session.logits_after(tokens[at : at + 1], at) for at in range(40, len(tokens))]
    assert np.abs(np.array(found) - expected).max() <= 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_checkpoints_equal_transformers(tmp_path: Path, dtype: torch.dtype) -> None:
    """What transformers saves as fp16 or bf16, in shards, gives the logits that transformers gets from it in fp32."""
    model = AutoModelForCausalLM.from_pretrained(llama_folder(tmp_path / "whole"), dtype=dtype).eval()
    model.save_pretrained(tmp_path / "saved", max_shard_size="40KB")
    assert (tmp_path / "saved" / "model.safetensors.index.json").exists()
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 40).tolist()
    with torch.inference_mode():
        expected = model.float()(torch.tensor([tokens])).logits[0, -1].numpy()
    found = DecoderSession(tmp_path / "saved", full_linear, threads=1).logits_after(tokens, 0)
    assert np.abs(found - expected).max() <= 1e-3


async def answers(folder: Path, prompts: list[str]) -> list[str]:
    """The engine's greedy texts."""
    engine = OnnxEngine("model", LocalModel(folder=folder, precision="fp32"))
    await engine.start()
    found = []
    for prompt in prompts:
        request = GenerateRequest("model", (Message("user", prompt),), Sampling(max_output_tokens=LONGEST_ANSWER))
        deltas = [event.text async for event in engine.generate(request) if isinstance(event, TextDelta)]
        found.append("".join(deltas))
    await engine.close()
    return found
