"""Images that do not fit on a device: they stay on the host, and go there a chunk at a time.

The host gathers one chunk while the device works on another; more than two are never under way.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

IN_FLIGHT = 2  # chunks of a device: one that it works on, one that is gathered
ALIGNMENT = 64  # bytes: a CPU device then reads the chunk where it lies


@dataclasses.dataclass(frozen=True, eq=False)
class Streamed:
    """An array that all runs read, kept on the host.

    Attributes:
      array: [N, ...]; may be a memmap, of which no more is read than is asked for.
      budget: bytes of the chunks of it that a device has at once, those on their way included.
    """

    array: np.ndarray
    budget: int

    def rows_in(self, chunks: int = IN_FLIGHT) -> int:
        """How many rows of the array one chunk may have; at least one."""
        return max(1, self.budget // chunks // (self.array[:1].nbytes or 1))


class Feed:
    """The way of chunks to one device. It has IN_FLIGHT buffers, each taken again when its chunk has been worked on."""

    def __init__(self, device: jax.Device | jax.sharding.Sharding):
        self.device = device
        self._buffers = [np.empty(0, np.uint8) for _ in range(IN_FLIGHT)]
        self._readers: list[Any] = [()] * IN_FLIGHT  # what was computed of each buffer's chunk
        self._next = 0

    def send(self, images: np.ndarray, labels: np.ndarray, rows: np.ndarray, shape: tuple[int, ...]):
        """images[rows] and labels[rows] on the device, padded to `shape`; waits for the chunk before the last.

        The padding of the images is whatever was there. `read_by` must follow before the next `send`.
        """
        jax.block_until_ready(self._readers[self._next])
        chunk = self._buffer((*shape, *images.shape[1:]), images.dtype)
        here, lead = np.asarray(images), rows.shape[:-1]
        for place in np.ndindex(lead):
            # "clip", because with "raise" NumPy gathers into a buffer of its own first. The rows are indices of folds.
            np.take(here, rows[place], axis=0, out=chunk[place][: rows.shape[-1]], mode="clip")
        named = np.zeros(shape, labels.dtype)
        named[..., : rows.shape[-1]] = labels[rows]
        return jax.device_put((chunk, named), self.device)

    def read_by(self, results: Any) -> None:
        """The chunk that was sent last is done with when `results`, a tree of arrays, are there."""
        self._readers[self._next] = results
        self._next = (self._next + 1) % IN_FLIGHT

    def _buffer(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if len(self._buffers[self._next]) < size:
            self._buffers[self._next] = aligned(size)
        return self._buffers[self._next][:size].view(dtype).reshape(shape)


def aligned(size: int) -> np.ndarray:
    """[size] uint8, unset, that a CPU device reads where it lies; NumPy's own start is none that XLA would."""
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size]


def in_turn(queues: Iterable[Sequence]) -> Iterator:
    """The first of every queue, then the second of every queue, ... so that no device waits for another's last."""
    return (job for jobs in itertools.zip_longest(*queues) for job in jobs if job is not None)


def blocks(length: int, most: int) -> Iterator[tuple[int, int]]:
    """[0, length) in ranges (start, stop) of `most`, the last one of the rest."""
    return ((start, min(start + most, length)) for start in range(0, length, most))
