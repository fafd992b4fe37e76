"""The few calls of the CUDA driver that launching kernels and keeping memory take, by ctypes: no other package."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "libcuda.so.1"
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_MOST_SHARED_BYTES = 8
_ON_DEVICE = 2
_DEFAULT_SHARED_BYTES = 48 * 1024


class CudaUnavailable(OSError):
    """There is no driver, no device, or a call failed; the message says which."""


class _Copy2d(ctypes.Structure):
    """CUDA_MEMCPY2D of the driver's header."""

    _fields_ = [
        *((f"source_{name}", ctypes.c_size_t) for name in ("x", "y")),
        ("source_type", ctypes.c_uint),
        *((f"source_{name}", ctypes.c_void_p) for name in ("host", "device", "array")),
        ("source_pitch", ctypes.c_size_t),
        *((f"target_{name}", ctypes.c_size_t) for name in ("x", "y")),
        ("target_type", ctypes.c_uint),
        *((f"target_{name}", ctypes.c_void_p) for name in ("host", "device", "array")),
        ("target_pitch", ctypes.c_size_t),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
    ]


class CudaDriver:
    """The first device. Addresses are ints; copies and launches are in order on one stream. Who made it closes it.

    Raises:
        CudaUnavailable: there is none.
    """

    def __init__(self) -> None:
        try:
            self._library: Any = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise CudaUnavailable(f"{LIBRARY}: {error}, expected NVIDIA's driver") from error
        self._call("cuInit", 0)
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._context = context
        self.activate()
        self._call("cuStreamCreate", ctypes.byref(stream), 1)
        self.stream = stream.value or 0
        self._held: set[int] = set()
        self._loaded: dict[str | bytes, Any] = {}  # by code, in which the entry and its shared memory stand

    def close(self) -> None:
        """Gives all memory back that it gave out, and the device; any thread may call, once nothing runs."""
        self.activate()
        self.wait()
        for address in tuple(self._held):
            self.free(address)
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(self.stream))
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def activate(self) -> None:
        """Must precede other calls in every thread."""
        self._call("cuCtxSetCurrent", self._context)

    @property
    def name(self) -> str:
        """The device's name."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode()

    @property
    def architecture(self) -> int:
        """Compute capability, 90 for 9.0."""
        parts = []
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            value = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
            parts.append(value.value)
        return 10 * parts[0] + parts[1]

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of zeros."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        self._held.add(address.value)
        zero, stream = ctypes.c_ubyte(0), ctypes.c_void_p(self.stream)
        self._call("cuMemsetD8Async", address, zero, ctypes.c_size_t(size), stream)  # before any copy of ours
        return address.value

    def free(self, address: int) -> None:
        """Gives memory back."""
        self._held.remove(address)
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, address: int, values: NDArray[Any]) -> None:
        """Copies a contiguous array to the device, in order with what follows; the array may change at once."""
        stored = np.ascontiguousarray(values)
        size, stream = ctypes.c_size_t(stored.nbytes), ctypes.c_void_p(self.stream)
        self._call(
            "cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), stored.ctypes.data_as(ctypes.c_void_p), size, stream
        )  # from pageable memory the driver returns only when it has read it: CUDA's "API synchronization behavior"

    def download(self, address: int, into: NDArray[Any]) -> None:
        """Copies from the device into a contiguous array, after all that came before."""
        size, stream = ctypes.c_size_t(into.nbytes), ctypes.c_void_p(self.stream)
        self._call("cuMemcpyDtoHAsync_v2", into.ctypes.data_as(ctypes.c_void_p), ctypes.c_uint64(address), size, stream)
        self.wait()

    def copy_rows(self, source: int, source_pitch: int, target: int, target_pitch: int, width: int, rows: int) -> None:
        """Copies `rows` stretches of `width` bytes on the device; pitches lie between their beginnings."""
        given = _Copy2d(
            source_type=_ON_DEVICE, source_device=source, source_pitch=source_pitch,
            target_type=_ON_DEVICE, target_device=target, target_pitch=target_pitch,
            width=width, height=rows,
        )  # fmt: skip
        self._call("cuMemcpy2DAsync_v2", ctypes.byref(given), ctypes.c_void_p(self.stream))

    def load(self, code: str | bytes, entry: str, shared_bytes: int) -> Any:
        """A kernel out of PTX or a cubin, ready to be launched with that much shared memory; each is loaded once."""
        if code in self._loaded:
            return self._loaded[code]
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        image = code if isinstance(code, bytes) else code.encode() + b"\0"
        self._call("cuModuleLoadData", ctypes.byref(module), image)
        self._call("cuModuleGetFunction", ctypes.byref(function), module, entry.encode())
        if shared_bytes > _DEFAULT_SHARED_BYTES:
            self._call("cuFuncSetAttribute", function, _MOST_SHARED_BYTES, shared_bytes)
        self._loaded[code] = function
        return function

    def launch(
        self,
        function: Any,
        grid: Sequence[int],
        threads: int,
        shared_bytes: int,
        values: Sequence[Any],
        stream: int | None = None,
    ) -> None:
        """Launches with arguments in the kernel's order: addresses as `numpy.uint64`, sizes as `numpy.int32`.

        On the driver's own stream, unless another is named.
        """
        held = [ctypes.c_uint64(int(v)) if isinstance(v, np.uint64) else ctypes.c_int32(int(v)) for v in values]
        packed = (ctypes.c_void_p * len(held))(*(ctypes.addressof(value) for value in held))
        shape = [*grid, 1, 1][:3]
        on = ctypes.c_void_p(self.stream if stream is None else stream)
        self._call("cuLaunchKernel", function, *shape, threads, 1, 1, shared_bytes, on, packed, None)

    def wait(self) -> None:
        """Until all that was begun is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise CudaUnavailable(f"{name}: the driver answers {status}, expected 0")


@contextmanager
def open_device() -> Iterator[CudaDriver]:
    """A device for what the block makes, which keeps it; given back where that cannot be made.

    Raises:
        CudaUnavailable: there is none.
    """
    driver = CudaDriver()
    try:
        yield driver
    except BaseException:
        driver.close()
        raise
