"""SIGKILL at random moments, then resume, to the bits of an unkilled run: `python tests/kills.py --kills 20`."""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parent.parent


def command(workdir: Path, part: str) -> list[str]:
    """The command of one session."""
    config = f"--config={ROOT / 'tests/kill_config.py'}:{part}"
    return [sys.executable, "-m", "fmnist_jax.main", config, f"--workdir={workdir}"]


def run(workdir: Path, part: str, kill_after: float | None = None) -> bool:
    """One session, killed after so many seconds; whether it came to its end."""
    process = subprocess.Popen(command(workdir, part), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    if process.returncode:
        raise RuntimeError(f"{workdir}: exit status {process.returncode}\n{output.decode()}")
    return True


def outcome(workdir: Path) -> dict[str, bytes]:
    """Everything a run comes to, as bytes: rows, results, predictions, and the arrays of its last checkpoint."""
    group = workdir / "groups" / "0"
    found = {name: (group / name).read_bytes() for name in ("metrics.jsonl", "done.json", "test.json")}
    with np.load(group / "predictions.npz") as predictions:
        found["predictions"] = predictions["test"].tobytes()
    last = max(int(p.name) for p in (group / "checkpoints").iterdir() if p.name.isdigit())
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore((group / "checkpoints" / str(last) / "default").absolute())
    found |= {f"{last}{name}": np.asarray(leaf).tobytes() for name, leaf in state.items()}
    return found


def undisturbed(directory: Path, part: str) -> tuple[dict[str, bytes], float]:
    """What a run that nobody kills comes to, and its seconds without those of compiling, which later ones need not."""
    start = time.monotonic()
    run(directory, part)
    seconds = time.monotonic() - start
    session = json.loads((directory / "groups/0/sessions/0.json").read_text())
    return outcome(directory), seconds - session["compile_seconds"]


def trial(directory: Path, part: str, seconds: float, rng: random.Random) -> dict[str, bytes]:
    """One run killed once, after the first third of an unkilled run's duration, and resumed."""
    while run(directory, part, kill_after=rng.uniform(0.3, 0.95) * seconds):
        shutil.rmtree(directory)  # this time it was quicker than the kill
    run(directory, part)
    return outcome(directory)


def main() -> None:
    """Prints a line a kill and a verdict; exits with 1 if one run differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, good = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as scratch:
        whole, seconds = {}, {}
        for part in ("mapped", "vmapped"):
            whole[part], seconds[part] = undisturbed(Path(scratch, part), part)
        for i in range(arguments.kills):
            part = ("mapped", "vmapped")[i % 2]
            got = trial(Path(scratch, str(i)), part, seconds[part], rng)
            differ = sorted(k for k in got.keys() | whole[part].keys() if got.get(k) != whole[part].get(k))
            good += not differ
            print(f"kill {i + 1}: {part}: {'differs in ' + ', '.join(differ) if differ else 'same bits'}", flush=True)
    print(f"{good} of {arguments.kills} resumed runs have the bits of an unkilled one")
    sys.exit(good != arguments.kills)


if __name__ == "__main__":
    main()
