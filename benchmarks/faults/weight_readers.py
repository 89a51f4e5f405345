"""Readers of damaged files of weights."""

import hashlib
from pathlib import Path

import jax
import numpy as np

from benchmarks.faults import originals
from benchmarks.faults.readers import Reader, attempt
from fmnist_jax import weights

EVIL = ("evil", "protocol")  # how the names begin of what would run code


class Safetensors(Reader):
    """A .safetensors file."""

    def files(self):
        return originals.safe_weights()

    def __call__(self, name, content):
        path = self.place / f"damaged{Path(name).suffix}"
        path.write_bytes(content)
        found, problem = attempt(lambda: weights.load(str(path), originals.wanted()), str(path))
        unchanged = content == self.originals[name] and not name.startswith(EVIL)
        return self.outcome(problem, unchanged, lambda: self._judge(found, content, unchanged))

    def _judge(self, found: weights.Loaded, content: bytes, unchanged: bool) -> str:
        leaves, wanted = (jax.tree.leaves(tree) for tree in (found.variables, originals.wanted()))
        if not found.fresh and [leaf.shape for leaf in leaves] != [leaf.shape for leaf in wanted]:
            return "loaded weights of other shapes"
        if not all(leaf.dtype == np.float32 and np.isfinite(leaf).all() for leaf in leaves):
            return "loaded weights that are no numbers"
        if found.sha256 != hashlib.sha256(content).hexdigest():
            return "says another hash than the file has"
        kernel = originals.tensors()["conv1.weight"].transpose(2, 3, 1, 0)
        same = np.array_equal(found.variables.params["conv1"]["kernel"], kernel)
        return "" if same or not unchanged else "loaded other weights than the file has"


class Torch(Safetensors):
    """A state dict of PyTorch's, of which some would run code where they are unpickled."""

    def files(self):
        self.trap = self.place / "trap"
        return originals.torch_weights(self.trap)

    def __call__(self, name, content):
        outcome, problem = super().__call__(name, content)
        if self.trap.exists():
            self.trap.unlink()
            return outcome, "code in the file was run"
        return outcome, problem
