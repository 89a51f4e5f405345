"""The study that faults are made in, as a user starts it, and what it comes to, to the bit."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parent.parent.parent
SECONDS = 300  # after which a session hangs


def command(workdir: Path, part: str = "mapped", *flags: str) -> list[str]:
    """The command of one session."""
    config = f"--config={ROOT / 'benchmarks/faults/config.py'}:{part}"
    return [sys.executable, "-m", "fmnist_jax.main", config, f"--workdir={workdir}", *flags]


def run(
    workdir: Path,
    part: str = "mapped",
    *flags: str,
    kill_after: float | None = None,
    env: Mapping[str, str] | None = None,
) -> bool:
    """One session, killed after so many seconds; whether it came to its end.

    Raises:
      RuntimeError: it failed, or hangs.
    """
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": {**os.environ, **(env or {})}}
    process = subprocess.Popen(command(workdir, part, *flags), cwd=ROOT, **given)
    try:
        output, _ = process.communicate(timeout=kill_after or SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        if kill_after is None:
            raise RuntimeError(f"{workdir}: hangs") from None
        return False
    if process.returncode:
        raise RuntimeError(f"{workdir}: exit status {process.returncode}\n{output.decode()}")
    return True


def outcome(workdir: Path) -> dict[str, bytes]:
    """Everything a study comes to, as bytes: rows, results, predictions, and the arrays of its last checkpoints."""
    found = {}
    for group in sorted((workdir / "groups").iterdir(), key=lambda path: int(path.name)):
        own = {name: (group / name).read_bytes() for name in ("metrics.jsonl", "done.json", "test.json")}
        with np.load(group / "predictions.npz", allow_pickle=False) as predictions:
            own["predictions"] = predictions["test"].tobytes()
        done = json.loads(own["done.json"])
        own["done.json"] = json.dumps({key: done[key] for key in ("results", "step")}).encode()  # on any devices
        last = max(int(p.name) for p in (group / "checkpoints").iterdir() if p.name.isdigit())
        runs = len(done["results"])
        place = (group / "checkpoints" / str(last) / "default").absolute()
        with ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.metadata(place).item_metadata
            state = checkpointer.restore(place, {name: np.empty(of.shape, of.dtype) for name, of in saved.items()})
        # Of several hosts there are copies behind the runs, which fill up the last one's part.
        own |= {f"{last}{name}": np.asarray(leaf)[:runs].tobytes() for name, leaf in state.items()}
        found |= {f"{group.name}/{name}": content for name, content in own.items()}
    return found


def differing(got: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> str:
    """The names of what differs; "" where nothing does."""
    names = sorted(name for name in got.keys() | wanted.keys() if got.get(name) != wanted.get(name))
    return f"differs in {', '.join(names)}" if names else ""


def undisturbed(workdir: Path, part: str = "mapped", *flags: str) -> tuple[dict[str, bytes], float]:
    """What a study that nobody disturbs comes to, and its seconds without those of compiling, which later ones lack."""
    start = time.monotonic()
    run(workdir, part, *flags)
    seconds = time.monotonic() - start
    sessions = [json.loads(path.read_text()) for path in workdir.glob("groups/*/sessions/*.json")]
    return outcome(workdir), seconds - sum(one["compile_seconds"] for one in sessions)


def rows_of(workdir: Path) -> Sequence[dict]:
    """The metric rows that are there, without a torn last line."""
    paths = sorted(workdir.glob("groups/*/metrics.jsonl"))
    lines = (line for path in paths for line in path.read_bytes().splitlines(keepends=True))
    return [json.loads(line) for line in lines if line.endswith(b"\n")]
