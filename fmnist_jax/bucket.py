"""Objects of a bucket (gs://, s3://) as this package reads, writes and makes them, through fsspec.

fsspec is what Orbax's and TFDS's own paths to buckets go through. Its libraries, s3fs and gcsfs, are the user's to
install.
"""

import contextlib
from collections.abc import Callable, Iterator

import fsspec

from fmnist_jax import leases
from fmnist_jax.errors import StorageError, UserError

LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}


class Bucket:
    """A place in a bucket, with what fsspec raises made the package's own."""

    def __init__(self, url: str):
        kind = url.partition("://")[0]
        try:
            self.files, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
        except ImportError:
            library = LIBRARIES.get(kind, f"fsspec's library for {kind}")
            raise UserError(f"--workdir={url}: needs {library}; pip install {library}") from None
        except ValueError as error:
            raise UserError(f"--workdir={url}: {error}; gs://BUCKET/DIR and s3://BUCKET/DIR are known") from None
        self.url, self.root = url, self.root.rstrip("/")

    def marks(self, below: str = "") -> dict[str, str]:
        """Name -> what changes with its content, of every object below a name."""
        place = f"{self.root}/{below}".rstrip("/")
        with self._named():
            self.files.invalidate_cache()
            try:
                found = self.files.find(place, detail=True)
            except FileNotFoundError:
                return {}
        names = {path: path.removeprefix(f"{self.root}/") for path in found if path != place and not path.endswith("/")}
        for name in names.values():  # of an object, which may be called anything, but not go anywhere
            if {"", ".", ".."} & set(name.split("/")):
                raise StorageError(f"{self.url}: {name!r} can be no file of a workdir; remove that object")
        return {name: _mark(found[path]) for path, name in names.items()}

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is none."""
        with self._named():
            return self.files.cat_file(f"{self.root}/{name}")

    def write(self, name: str, content: bytes) -> None:
        """A whole object."""
        with self._named():
            self.files.pipe_file(f"{self.root}/{name}", content)

    def create(self, name: str, content: bytes) -> None:
        """Raises FileExistsError where there is one already; of two at once, one."""
        try:
            with self._named():
                self.files.pipe_file(f"{self.root}/{name}", content, mode="create")
        except StorageError as error:
            if "ConditionalRequestConflict" in str(error):  # S3's, of another's that is being made at this moment
                raise FileExistsError(name) from None
            raise

    def remove(self, names: list[str]) -> None:
        """Objects, those of them that are there."""
        for name in names:
            with self._named(), contextlib.suppress(FileNotFoundError):
                self.files.rm_file(f"{self.root}/{name}")

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # of aiohttp, botocore, gcsfs: without a common base
            words = (str(error).splitlines() or [""])[0][:200]
            raise StorageError(f"{self.url}: {type(error).__name__}: {words}") from error


def _mark(info: dict) -> str:
    for key in ("ETag", "etag", "md5Hash", "generation"):
        if info.get(key):
            return str(info[key])
    return f"{info.get('size')} {info.get('mtime') or info.get('created') or info.get('LastModified')}"


class Objects(leases.Files):
    """The claims of a group in a bucket."""

    def __init__(self, bucket: Bucket, name: str):
        self._bucket, self._name = bucket, name

    def numbers(self) -> set[int]:
        """Of the claims that there are."""
        # Below a folder of their own, so that looking at them lists nothing else.
        names = (name.rpartition("/")[2] for name in self._bucket.marks(f"{self._name}/{leases.NAME}"))
        return {int(name) for name in names if name.isdecimal()}

    def read(self, number: int) -> bytes | None:
        """A claim; None where there is none."""
        try:
            return self._bucket.read(self._named(number))
        except FileNotFoundError:
            return None

    def remove(self, number: int) -> None:
        """A claim, if it is there."""
        self._bucket.remove([self._named(number)])

    @contextlib.contextmanager
    def create(self, number: int, content: bytes) -> Iterator[Callable[[bytes], None]]:
        """A new claim, and what changes it; raises FileExistsError where there is one."""
        self._bucket.create(self._named(number), content)
        yield lambda content: self._bucket.write(self._named(number), content)

    def _named(self, number: int) -> str:
        return f"{self._name}/{leases.NAME}/{number}"
