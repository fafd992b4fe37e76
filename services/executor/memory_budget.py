"""What a model will take of memory, before it is loaded, and whether that still fits beside the others."""

import math
from pathlib import Path

from services.chassis.errors import FailedPrecondition
from services.executor.kv_memory import BLOCK_TOKENS, fitting_context, kv_capacity, kv_token_bytes
from services.executor.models import onnx_linear, tensorrt_linear
from services.executor.models.checkpoint import Checkpoint, InvalidCheckpoint, open_checkpoint
from services.executor.models.decoder import DecoderShape, decoder_shape
from services.executor.pass_plan import MOST_PADDED, READ_TOKENS_ALONE
from services.executor.settings import LocalModel

MB = 1_000_000
_RUNTIME_BYTES = 24 * MB  # of graph, kernels and small scratch, whatever the model
_EMBEDDING = "embed_tokens"


class MemoryBudget:
    """Bytes that models in one process share.

    Args:
        most: of all of them together; no limit where None.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._taken: dict[str, int] = {}

    def take(self, name: str, size: int) -> None:
        """Sets memory aside for a model.

        Raises:
            FailedPrecondition: there is not enough left; says how much is, and who has the rest.
        """
        left = math.inf if self._most is None else self._most - sum(self._taken.values())
        if size > left:
            others = ", ".join(f"{other} {taken / MB:.0f}" for other, taken in self._taken.items()) or "none"
            expected = f"at most the {left / MB:.0f} MB left of executor.memory_bytes, {others} MB being taken"
            raise FailedPrecondition(f"memory of model {name}", f"{size / MB:.0f} MB", expected)
        self._taken[name] = size

    def give(self, name: str) -> None:
        """Gives back what a model had, if it had any."""
        self._taken.pop(name, None)


def context_of(model: LocalModel, checkpoint: Checkpoint, item_bytes: int) -> int:
    """Most tokens of a conversation: those of the settings, or else what `fitting_context` chooses.

    Raises:
        InvalidCheckpoint: the configuration cannot be used.
    """
    shape = decoder_shape(checkpoint, model.context_tokens)
    if model.context_tokens:
        return shape.attention.max_positions
    most, kept = model.kv_memory_mb * MB, model.prefix_memory_mb * MB
    return fitting_context(shape, item_bytes, model.places, most, kept)


def estimate(model: LocalModel) -> int:
    """Bytes that a model takes once it is loaded, from its folder's headers alone, wherever they lie.

    With the backend `auto` they are those of the CPU, where they are most.

    Raises:
        InvalidCheckpoint, OSError: the folder cannot be used.
    """
    checkpoint = open_checkpoint(model.folder)
    on_gpu = model.backend in ("tensorrt", "cuda")
    item = 2 if on_gpu else 4
    shape = decoder_shape(checkpoint, context_of(model, checkpoint, item))
    a_weight = (tensorrt_linear if on_gpu else onnx_linear).BYTES_A_WEIGHT[model.expected_precision]
    weights = 0.0
    for name, tensor in checkpoint.tensors.items():
        count = math.prod(tensor.shape)
        linear = len(tensor.shape) > 1 and _EMBEDDING not in name
        weights += count * (a_weight if linear else item)
    if "lm_head.weight" not in checkpoint.tensors:  # the head is the embedding once more, stored as a linear layer
        weights += shape.vocabulary * shape.hidden * a_weight
    most, token = model.kv_memory_mb * MB, kv_token_bytes(shape, item)
    try:
        slots, blocks = kv_capacity(shape, item, model.places, most, model.prefix_memory_mb * MB)
    except ValueError as error:
        raise InvalidCheckpoint(f"{model.folder}: {error}, expected at most {most}: lower context_tokens") from None
    kv = token * (slots * shape.attention.max_positions + blocks * BLOCK_TOKENS)
    return int(weights) + kv + _pass_bytes(shape, slots) + _RUNTIME_BYTES + _vocabulary_bytes(model.folder)


def _pass_bytes(shape: DecoderShape, slots: int) -> int:
    """Of the widest pass: each head's scores of every position that attention lays out, in float32, beside logits of
    all slots and what their probabilities are told from."""
    positions = min(MOST_PADDED, slots * READ_TOKENS_ALONE, slots * shape.attention.max_positions)
    scores = 4 * shape.attention.heads * positions * shape.attention.max_positions
    return scores + 2 * 4 * slots * shape.vocabulary


def _vocabulary_bytes(folder: Path) -> int:
    """Of tokenizer and grammar vocabulary, which hold what the file does several times over."""
    path = folder / "tokenizer.json"
    return 12 * path.stat().st_size if path.exists() else 0
