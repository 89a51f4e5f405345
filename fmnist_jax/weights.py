"""Weights from a file, in torchvision's names, over the first state of runs: where fine-tuning starts.

A `.safetensors` is read as it is; a `.pth` or `.pt` by torch, if that is installed, as tensors alone: nothing in it is
ever run. `hf:OWNER/NAME` is fetched from the Hugging Face hub, if huggingface_hub is installed.
"""

import dataclasses
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from fmnist_jax.errors import UserError

HUB = "hf:"
HUB_FILE = "model.safetensors"
SAFE_TORCH = (2, 6)  # before, torch.load(weights_only=True) could be got round: CVE-2025-32434
HEAD = ("fc.weight", "fc.bias")  # the one layer whose size is the data set's to say
# Leaf of a Flax module -> PyTorch's name for it.
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


class Variables(NamedTuple):
    """The weights of one network, as Flax has them."""

    params: Any
    batch_stats: Any


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A file of weights, laid out as Flax has them."""

    variables: Variables  # of a leaf that the file has none for: None
    fresh: tuple[str, ...]  # what is left as it was drawn: HEAD, where the file is of another number of classes
    path: Path
    sha256: str


def of_one(state) -> Variables:
    """The shapes of one run's weights, of `state` with a leading axis of runs."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state)
    return Variables(one.params, one.batch_stats)


def over(state, loaded: Loaded):
    """`state` (host arrays with a leading axis of runs) with the weights of every run those that were loaded."""

    def put(drawn, value):
        return drawn if value is None else np.broadcast_to(value, drawn.shape).astype(drawn.dtype)

    there = Variables(state.params, state.batch_stats)
    return state._replace(**jax.tree.map(put, there, loaded.variables)._asdict())


def load(source: str, wanted: Variables) -> Loaded:
    """The weights that `source` names: a file, or `hf:OWNER/NAME[/FILE]`.

    Args:
      wanted: a tree of what has shapes, for one network, named as torchvision has it but for "_" in place of ".".

    Raises:
      UserError: there is no such file, it is damaged, or its weights are not those of the network.
    """
    path = _fetched(source) if source.startswith(HUB) else Path(os.path.expanduser(source))
    where = f"model.weights={source!r}"
    tensors = {k: v for k, v in _read(path, where).items() if k.rsplit(".", 1)[-1] != "num_batches_tracked"}
    leaves, structure = jax.tree.flatten_with_path(wanted)
    named = {_name(keys): leaf.shape for keys, leaf in leaves}
    for name in named:
        if name not in tensors:
            raise UserError(f"{where}: has no {name!r}; wants a state dict of this network, in torchvision's names")
    for name in tensors:
        if name not in named:
            raise UserError(f"{where}: has {name!r}, which this network has not")
    fresh = HEAD if _of_other_classes(*(tensors[name].shape for name in HEAD), *named[HEAD[0]]) else ()
    values = [None if name in fresh else _fitted(tensors[name], shape, where, name) for name, shape in named.items()]
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Loaded(jax.tree.unflatten(structure, values), fresh, path, digest)


def _name(keys: tuple) -> str:
    """.params['layer1_0']['conv1']['kernel'] as torchvision calls it: layer1.0.conv1.weight."""
    *modules, leaf = (key.key for key in keys[1:])
    return ".".join(modules).replace("_", ".") + "." + LEAVES[leaf]


def _of_other_classes(weight: tuple, bias: tuple, classes: int, width: int) -> bool:
    """Whether a last layer of these shapes is a whole one, but not for so many classes."""
    return len(weight) == 2 and weight[1] == width and bias == weight[:1] and weight[0] != classes


def _fitted(tensor: np.ndarray, shape: tuple[int, ...], where: str, name: str) -> np.ndarray:
    """A tensor as Flax has it, in float32: a convolution's kernel lies [k, k, C, F], PyTorch's [F, C, k, k]."""
    conv = len(shape) == 4
    wanted = [shape[3], shape[2], *shape[:2]] if conv else list(shape)
    if list(tensor.shape) != wanted:
        raise UserError(f"{where}: {name!r} is {list(tensor.shape)}, where {wanted} is wanted")
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        raise UserError(f"{where}: {name!r} holds {tensor.dtype}, where floating-point numbers are wanted")
    values = tensor.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{where}: {name!r} holds values that are not finite")
    return values.transpose(2, 3, 1, 0) if conv else values


def _read(path: Path, where: str) -> dict[str, np.ndarray]:
    readers = {".safetensors": _read_safetensors, ".pth": _read_torch, ".pt": _read_torch}
    if path.suffix not in readers:
        raise UserError(f"{where}: a file's name must end in .safetensors, .pth or .pt")
    if not path.is_file():
        raise UserError(f"{where}: there is no such file")
    return readers[path.suffix](path, where)


def _read_safetensors(path: Path, where: str) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: damaged, or no safetensors file ({_brief(error)})") from None


def _read_torch(path: Path, where: str) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{where}: needs PyTorch to be read; pip install torch, or save it once as .safetensors where that is: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'FILE.safetensors')"
        ) from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_TORCH:
        raise UserError(
            f"{where}: PyTorch {torch.__version__} may run code of a file that it reads (CVE-2025-32434); "
            f"pip install 'torch>={'.'.join(map(str, SAFE_TORCH))}', or take a .safetensors file"
        )
    size = path.stat().st_size
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                inside = sum(member.file_size for member in file.infolist())
            if inside > size:
                raise ValueError("its parts are larger than it is; save it anew, as torch.save does, uncompressed")
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it likes for a file that is none of its own
        raise UserError(f"{where}: damaged, or holds more than tensors ({_brief(error)})") from None
    if not isinstance(found, dict):
        raise UserError(f"{where}: holds a {type(found).__name__}, where a state dict (name -> tensor) is wanted")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise UserError(f"{where}: {name!r} is a {type(value).__name__}, where a tensor is wanted")
        if value.layout == torch.strided and value.numel() * value.element_size() > size:
            raise UserError(f"{where}: {name!r} has more numbers than the file; save it as plain float32")
    try:
        return {k: (v.float() if v.is_floating_point() else v).detach().numpy() for k, v in found.items()}
    except (TypeError, RuntimeError) as error:  # sparse, quantised
        raise UserError(f"{where}: {_brief(error)}; save it as plain float32") from None


def _fetched(source: str) -> Path:
    """The file in the hub's cache, fetched if it is not there."""
    where, parts = f"model.weights={source!r}", source.removeprefix(HUB).split("/")
    if len(parts) < 2 or not all(parts):
        raise UserError(f"{where}: must be hf:OWNER/NAME or hf:OWNER/NAME/FILE, such as hf:timm/resnet18.tv_in1k")
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(
            f"{where}: needs huggingface_hub; pip install 'fmnist-jax[hub]', or give a file that is here"
        ) from None
    repo, name = "/".join(parts[:2]), "/".join(parts[2:]) or HUB_FILE
    try:
        return Path(huggingface_hub.hf_hub_download(repo, name))
    except Exception as error:  # offline, refused, not there: its errors are many, and none of our doing
        raise UserError(f"{where}: not fetched ({_brief(error)}); give a file that is here instead") from None


def _brief(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {line}"[:200]
