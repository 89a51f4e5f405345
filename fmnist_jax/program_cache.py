"""JAX's cache of compiled programs, each written whole or not at all.

JAX writes an entry in place, and never over one that is there: of a process killed at that moment the half of one stays
for ever, and every later process complains of it and compiles anew; so may one that reads while another writes.
"""

import contextlib
from pathlib import Path

from jax._src import lru_cache  # JAX has no public way to say how an entry is written

from fmnist_jax import writers

_put_in_place = lru_cache.LRUCache.put


def write_whole() -> None:
    """From now on, in this process."""
    lru_cache.LRUCache.put = _put


def _put(cache: lru_cache.LRUCache, key: str, value: bytes) -> None:
    if cache.eviction_enabled or "://" in str(cache.path):  # with a lock of its own; of no file system
        _put_in_place(cache, key, value)
        return
    path = Path(str(cache.path), f"{key}-cache")
    with contextlib.suppress(OSError):  # of a full disk: compiling takes its time, and that is all
        if not path.exists():
            writers.write_atomically(path, value)
