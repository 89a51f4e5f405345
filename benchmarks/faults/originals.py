"""Small valid files of every kind that the package reads: what the faults of `inputs` are made of."""

import functools
import gzip
import io
import pickle
import struct
from pathlib import Path

import jax
import numpy as np
import safetensors.numpy
from PIL import Image

from fmnist_jax import weights
from fmnist_jax.data import folder, idx

SIZE = (6, 7)  # height and width of every image


def encoded(array) -> bytes:
    """An array of unsigned bytes in the IDX format."""
    array = np.asarray(array, np.uint8)
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def zipped(raw: bytes) -> bytes:
    """The same bytes for the same content."""
    return gzip.compress(raw, mtime=0)


def unzipped(content: bytes) -> bytes:
    """What `zipped` was given."""
    return gzip.decompress(content)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def idx_files() -> dict[str, bytes]:
    """Single IDX files of every rank, as they are and zipped."""
    plain = {f"rank{rank}": encoded(_noise(*(5, 4, 3, 2)[:rank])) for rank in (1, 2, 3, 4)}
    return plain | {f"{name}.gz": zipped(content) for name, content in plain.items()}


def idx_set(train: int = 12, test: int = 6) -> dict[str, bytes]:
    """Four files of Fashion-MNIST's names: so many images to train on and to test on, of three classes."""
    arrays = (_noise(train, *SIZE), np.arange(train) % 3, _noise(test, *SIZE), np.arange(test) % 3)
    return {name: zipped(encoded(array)) for name, array in zip(idx.FASHION_MNIST, arrays, strict=True)}


def write(files: dict[str, bytes], directory: Path) -> Path:
    """Puts files into a directory, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


@functools.cache
def images() -> dict[str, bytes]:
    """File name -> content: every format and mode that is decoded."""
    colour, grey = Image.fromarray(_noise(*SIZE, 3)), Image.fromarray(_noise(*SIZE))
    pages = {"save_all": True, "append_images": [colour.rotate(180)]}
    ways = {
        "grey.png": (grey, {}),
        "colour.png": (colour, {}),
        "palette.png": (colour.quantize(16), {}),
        "alpha.png": (colour.convert("RGBA"), {}),
        "grey_alpha.png": (grey.convert("LA"), {}),
        "bits.png": (grey.convert("1"), {}),
        "colour.jpg": (colour, {"quality": 90}),
        "grey.jpg": (grey, {}),
        "progressive.jpg": (colour, {"progressive": True}),
        "cmyk.jpg": (colour.convert("CMYK"), {}),
        "colour.bmp": (colour, {}),
        "frames.gif": (colour.quantize(16), pages),
        "lossy.webp": (colour, {}),
        "lossless.webp": (colour, {"lossless": True}),
        "colour.tif": (colour, {}),
        "deflate.tif": (colour, {"compression": "tiff_adobe_deflate"}),
        "lzw.tif": (colour, {"compression": "tiff_lzw"}),
        "jpeg.tif": (colour, {"compression": "jpeg"}),
        "pages.tif": (colour, pages),
        "grey.pgm": (grey, {}),
        "colour.ppm": (colour, {}),
    }
    found = {}
    for name, (image, how) in ways.items():
        buffer, suffix = io.BytesIO(), Path(name).suffix
        image.save(buffer, Image.registered_extensions()[suffix], **how)
        found[name] = buffer.getvalue()
    return found


def image_folder(root: Path, classes=("apple", "banana"), each: int = 3) -> Path:
    """`each` images to train on and one to test on a class, which is told by what of an image is bright."""
    for part, count in zip(folder.PARTS, (each, 1), strict=True):
        for number, label in enumerate(classes):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                pixels = _noise(each + 1, *SIZE, 3)[i if count > 1 else each] // 2
                pixels[..., number % 3] += 120
                Image.fromarray(pixels).save(root / part / label / f"{i}.png")
    return root


def tensors() -> dict[str, np.ndarray]:
    """A state dict of a network of one convolution, in torchvision's names."""
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (2, 1, 3, 3), "fc.weight": (3, 2), "fc.bias": (3,)}
    shapes |= {f"bn1.{leaf}": (2,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def wanted() -> weights.Variables:
    """The shapes of that network as Flax has it."""

    def leaf(*shape):
        return jax.ShapeDtypeStruct(shape, np.float32)

    norm = {"scale": leaf(2), "bias": leaf(2)}
    params = {"conv1": {"kernel": leaf(3, 3, 1, 2)}, "bn1": norm, "fc": {"kernel": leaf(3, 2), "bias": leaf(3)}}
    return weights.Variables(params, {"bn1": {"mean": leaf(2), "var": leaf(2)}})


def safe_weights() -> dict[str, bytes]:
    """The state dict as .safetensors."""
    return {"weights.safetensors": safetensors.numpy.save(tensors())}


class _Touch:
    """What leaves a file behind where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def torch_weights(trap: Path) -> dict[str, bytes]:
    """The state dict as .pth, new and old, and pickles that would make the file `trap`; without PyTorch those alone."""
    evil = {**tensors(), "fc.bias": _Touch(trap)}
    found = {"evil.pth": pickle.dumps(evil), "protocol2.pth": pickle.dumps(evil, protocol=2)}
    try:
        import torch
    except ImportError:
        return found
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors().items()}
    for name, content, new in (("new.pth", state, True), ("old.pth", state, False), ("evil_new.pth", evil, True)):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=new)
        found[name] = buffer.getvalue()
    return found


def repeated_tensor() -> bytes:
    """A .pth of 2^27 doubles that are one; without PyTorch, nothing."""
    try:
        import torch
    except ImportError:
        return b""
    buffer = io.BytesIO()
    torch.save({"fc.bias": torch.zeros(1, dtype=torch.float64).expand(2**27)}, buffer)
    return buffer.getvalue()
