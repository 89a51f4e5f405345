"""Damage to bytes as hypothesis draws it: bits, lengths, holes, numbers that are too large."""

import struct
from collections.abc import Callable, Mapping

import hypothesis
from hypothesis import strategies as st

# What a header may hold of a size that is none, and where an unsigned or a signed number ends.
NUMBERS = (0, 1, 255, 8192, 65500, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def drawn(strategy: st.SearchStrategy, count: int) -> list:
    """So many of a strategy's values, the same ones every time."""
    found = []

    @hypothesis.settings(
        max_examples=count,
        phases=[hypothesis.Phase.generate],
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def take(value):
        found.append(value)

    take()
    if len(found) < count:
        raise RuntimeError(f"{len(found)} cases were drawn, not {count}")
    return found[:count]


@st.composite
def damaged(draw, originals: Mapping[str, bytes]) -> tuple[str, str, bytes]:
    """(which original, what was done to it, its bytes now); one of thirty is left as it was."""
    name = draw(st.sampled_from(sorted(originals)))
    content, done = originals[name], []
    if draw(st.integers(0, 29)):
        for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
            kind = draw(st.sampled_from(sorted(WAYS)))
            content = WAYS[kind](draw, content)
            done.append(kind)
    kind = "nothing" if not done else done[0] if len(set(done)) == 1 else "several of these"
    return name, kind, content


def _place(draw, content: bytes, longest: int = 64) -> tuple[int, int]:
    """Where a part begins, often in the first bytes, which say what comes; and where it ends."""
    anywhere = st.integers(0, len(content))
    first = draw(st.integers(0, min(len(content), 40)) | anywhere | anywhere)
    return first, min(len(content), first + draw(st.integers(1, longest)))


def _flip(draw, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 8))) if content else 0):
        first, _ = _place(draw, content)
        changed[min(first, len(content) - 1)] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def _cut(draw, content: bytes) -> bytes:
    return content[: draw(st.integers(0, len(content)))]


def _lengthen(draw, content: bytes) -> bytes:
    return content + draw(st.binary(min_size=1, max_size=64))


def _take_out(draw, content: bytes) -> bytes:
    first, last = _place(draw, content)
    return content[:first] + content[last:]


def _repeat(draw, content: bytes) -> bytes:
    first, last = _place(draw, content)
    at = draw(st.integers(0, len(content)))
    return content[:at] + content[first:last] * draw(st.integers(1, 20)) + content[at:]


def _write_over(draw, content: bytes) -> bytes:
    first, _ = _place(draw, content)
    noise = draw(st.binary(min_size=1, max_size=16))
    return content[:first] + noise + content[first + len(noise) :]


def _enlarge(draw, content: bytes) -> bytes:
    first, _ = _place(draw, content)
    form = draw(st.sampled_from((">I", "<I", ">H", "<H", "<Q")))
    number = draw(st.sampled_from(NUMBERS)) % 2 ** (8 * struct.calcsize(form))
    return content[:first] + struct.pack(form, number) + content[first + struct.calcsize(form) :]


WAYS: dict[str, Callable] = {
    "bits flipped": _flip,
    "cut off": _cut,
    "bytes added": _lengthen,
    "bytes taken out": _take_out,
    "bytes repeated": _repeat,
    "noise written over": _write_over,
    "a number changed": _enlarge,
}
