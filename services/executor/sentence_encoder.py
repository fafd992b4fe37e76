"""A sentence encoder loaded for use: texts to tokens, equally long token rows to vectors."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.executor.chat_text import load_tokenizer
from services.executor.models.checkpoint import digest_of, open_checkpoint
from services.executor.models.encoder import encoder_shape
from services.executor.models.onnx_emitter import EMBEDDINGS, TOKENS, encoder_graph
from services.executor.models.onnx_linear import ENCODER_LINEARS
from services.executor.onnx_session import OnnxSession
from services.executor.settings import ENGINES, GPU_PRECISION
from services.executor.tensorrt_encoder import open_tensorrt_encoder

GRAPH_VERSION = 1  # raise it with every change that may move a vector: stored embeddings are then refused, not misread


@dataclass(frozen=True)
class Tokens:
    """A text's tokens within the encoder's window, and how many it had before, special ones included."""

    ids: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Embedding:
    """A text's vector `[dimension]` of Euclidean length 1; `truncated` where it stands for the beginning only."""

    values: NDArray[np.float32]
    token_count: int
    truncated: bool


class SentenceEncoder:
    """Its methods block; only one `encode` may be under way.

    Args:
        folder: sentence-transformers folder of the BERT family.
        precision: a key of ENCODER_LINEARS on the CPU, or GPU_PRECISION by TensorRT on the first GPU.
        threads: threads within an operator on the CPU.
        engines: folder of built TensorRT engines.

    Raises:
        InvalidCheckpoint: the folder cannot be used.
        OSError: there is no TensorRT or no GPU.
    """

    def __init__(self, folder: Path, precision: str, threads: int, engines: Path = ENGINES) -> None:
        checkpoint = open_checkpoint(folder)
        shape = encoder_shape(checkpoint)
        self.dimension = shape.hidden
        self.max_tokens = shape.max_tokens
        self._tokenizer = load_tokenizer(folder)
        self._special_tokens = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        if precision == GPU_PRECISION:
            self._run = open_tensorrt_encoder(checkpoint, shape, engines).run
        else:
            graph = encoder_graph(checkpoint, shape, ENCODER_LINEARS[precision])
            session = OnnxSession(graph, EMBEDDINGS, threads)
            self._run = lambda tokens: session.run({TOKENS: tokens})
        kept = [checkpoint.digest(), digest_of(folder / "tokenizer.json"), precision, shape.pooling]
        parts = "\0".join([*kept, str(shape.max_tokens), str(GRAPH_VERSION)])
        self.digest = hashlib.sha256(parts.encode()).hexdigest()

    def tokenise(self, text: str) -> Tokens:
        """The text's tokens, those beyond the window cut off before the closing special token; any thread may call."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        count = len(encoding.ids) + self._special_tokens
        encoding.truncate(self.max_tokens - self._special_tokens)
        return Tokens(tuple(self._tokenizer.post_process(encoding).ids), count)

    def encode(self, rows: Sequence[Tokens]) -> NDArray[np.float32]:
        """Vectors `[rows, dimension]` of rows that hold equally many tokens.

        On the CPU a row's vector is bitwise the same whatever the others are: nothing is padded, and every operator,
        the integer ones included, treats rows by themselves.
        """
        return self._run(np.array([row.ids for row in rows], np.int64))
