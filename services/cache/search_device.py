"""The GPU on which large scopes are searched: opened when the first of them comes, and memory of it within a bound."""

from contextlib import suppress

from kernels.cuda_driver import CudaDriver, CudaUnavailable


class SearchDevice:
    """The first GPU. One thread at a time takes memory, any may give it back.

    Args:
        most_bytes: of its memory, for all indexes together; it is not opened where that is 0.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._driver: CudaDriver | None = None
        self._taken: dict[int, int] = {}  # bytes by address

    def open(self) -> CudaDriver:
        """The device, activated in this thread. Raises CudaUnavailable where there is none."""
        if not self._most_bytes:
            raise CudaUnavailable("gpu_vector_bytes is 0")
        self._driver = self._driver or CudaDriver()
        self._driver.activate()
        return self._driver

    @property
    def bytes(self) -> int:
        """Taken of the device's memory."""
        return sum(list(self._taken.values()))

    def take(self, sizes: list[int]) -> list[int]:
        """Addresses of so many bytes each. Raises CudaUnavailable where that is too much."""
        driver, wanted, left = self.open(), sum(sizes), self._most_bytes - self.bytes
        if wanted > left:
            raise CudaUnavailable(f"gpu_vector_bytes: {wanted} bytes are wanted, expected at most {left} that are left")
        addresses: list[int] = []
        try:
            for size in sizes:
                addresses.append(driver.allocate(size))
                self._taken[addresses[-1]] = size
        except CudaUnavailable:
            self.give_back(addresses)
            raise
        return addresses

    def give_back(self, addresses: list[int]) -> None:
        """Frees memory, but for that of a device that is closed, or broken."""
        for address in addresses:
            if self._taken.pop(address, None) is not None and self._driver is not None:
                with suppress(CudaUnavailable):
                    self._driver.activate()
                    self._driver.free(address)

    def close(self) -> None:
        """Gives the device back, with all its memory."""
        driver, self._driver = self._driver, None
        if driver is not None:
            with suppress(CudaUnavailable):
                driver.close()
