"""The prompt's vector as the domain takes it: checked once, so that no bad value reaches the index."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.chassis.errors import InvalidField

_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Embedding:
    """A prompt's embedding.

    Args:
        values: little-endian float32.
        dimension: number of values that the sender meant.
        encoder_digest: names the space that the vector lives in.
        truncated: whether it stands for the prompt's beginning only.
    """

    values: bytes
    dimension: int
    encoder_digest: str
    truncated: bool

    @cached_property
    def vector(self) -> npt.NDArray[np.float32]:
        """The values, shape [dimension].

        Raises:
            InvalidField: not `dimension` values, or not a finite vector of length 1.
        """
        if len(self.values) != 4 * self.dimension:
            expected = f"{4 * self.dimension} bytes, 4 for each of `dimension`"
            raise InvalidField("embedding.values", f"{len(self.values)} bytes", expected)
        vector = np.frombuffer(self.values, "<f4")
        square = float(np.dot(vector, vector))
        if not abs(square - 1) <= 2 * _NORM_TOLERANCE:  # written so that NaN fails too
            raise InvalidField("embedding.values", f"squared L2 norm {square:.6g}", "finite values of L2 norm 1")
        return vector
