"""What the predictor sees of a prompt: its embedding and a few cheap facts about its letters, in microseconds."""

import math

import numpy as np
from numpy.typing import NDArray

FEATURE_VERSION = 1
LEXICAL_FEATURES = (
    "log_characters",  # log(1 + characters of the whole prompt)
    "log_words",  # log(1 + runs of anything but white space)
    "log_numbers",  # log(1 + runs of digits)
    "log_lines",  # log(1 + line feeds)
    "word_length",  # mean bytes a word, over 10
    "digits",  # shares of all bytes from here on
    "capitals",
    "white_space",
    "operators",  # + - * / = < > ^ % |
    "brackets",  # ( ) [ ] { }
    "sentence_marks",  # . , ; : !
    "questions",  # ?
    "quotes",  # " ' `
    "code_marks",  # _ \ # $ & @ ~
    "not_ascii",
)
_WINDOW_BYTES = 8192  # counted from the prompt's beginning: the cost stays bounded whatever is sent
_CLASSES = (
    b"0123456789",
    bytes(range(65, 91)),
    b" \t\n\r\v\f",
    b"+-*/=<>^%|",
    b"()[]{}",
    b".,;:!",
    b"?",
    b"\"'`",
    b"_\\#$&@~",
    bytes(range(128, 256)),
)
_DIGIT, _SPACE, _OTHER = 0, 2, len(_CLASSES)
_CLASS_OF_BYTE = bytes(
    next((place for place, members in enumerate(_CLASSES) if byte in members), _OTHER) for byte in range(256)
)


def lexical(text: str) -> NDArray[np.float32]:
    """`LEXICAL_FEATURES` of a text, float32 [15]; but for its length, of its first 8 KiB."""
    window = text[:_WINDOW_BYTES].encode("utf-8", "replace")[:_WINDOW_BYTES]
    classes = np.frombuffer(window.translate(_CLASS_OF_BYTE), np.uint8)
    counts = np.bincount(classes, minlength=_OTHER + 1).tolist()
    size, words = max(1, len(window)), _runs(classes != _SPACE)
    return np.array(
        (
            math.log1p(len(text)),
            math.log1p(words),
            math.log1p(_runs(classes == _DIGIT)),
            math.log1p(window.count(b"\n")),
            (len(window) - counts[_SPACE]) / max(1, words) / 10,
            *(count / size for count in counts[:_OTHER]),
        ),
        np.float32,
    )


def features(text: str, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
    """The embedding [d] followed by the lexical features: float32 [d + 15]."""
    return np.concatenate((embedding, lexical(text)))


def _runs(mask: NDArray[np.bool_]) -> int:
    """Number of unbroken runs of True."""
    if not mask.size:
        return 0
    return int(mask[0]) + int(np.count_nonzero(mask[1:] > mask[:-1]))
