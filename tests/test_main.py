"""The command as a user types it: exit status, one line an error, kills and signals."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.faults import subject

ROOT = Path(__file__).parent.parent


def main(*arguments):
    """(exit status, stdout, stderr) of the command."""
    command = [sys.executable, "-m", "fmnist_jax.main", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


REFUSED = {
    "error: --config: missing; try --config=configs/cnn.py": [],
    "error: --config=configs/nn.py: no such file; there are configs/acosta.py": ["--config=configs/nn.py"],
    "error: seeds='two': must be a whole number, such as 1": ["--config=configs/cnn.py", "--config.seeds=two"],
    "did you mean model.filters?": ["--config=configs/cnn.py", "--config.model.filtres=4,"],
    "optimizer.lr: no such key; there are optimizer.name": ["--config=configs/cnn.py", "--config.optimizer.lr=1"],
    "did you mean 'adam'?": ["--config=configs/cnn.py", "--config.optimizer.name=adm"],
    "must be more than zero": ["--config=configs/cnn.py", "--config.train.duration=0 epochs"],
    "error: --config: TypeError: ": ["--config=tests/broken_config.py"],
    "no part 'four_conv'; there are architecture, rate": ["--config=configs/report234591.py:four_conv"],
    "platform='tpu': JAX finds no such device here": ["--config=configs/synthetic.py", "--config.platform=tpu"],
}
VERBOSE = ["--config=configs/cnn.py", "--config.seeds=0", "--verbose"]
FORKS = """
import json, os, sys

from fmnist_jax import main

folder, commands = sys.argv[1], json.loads(sys.argv[2])
for i, command in enumerate(commands):
    if not os.fork():
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{i}.{name}", os.O_CREAT | os.O_WRONLY), descriptor)
        sys.argv, status = ["main.py", *command], 0
        try:
            main.run()
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
        os._exit(status)  # not through the end of the interpreter, which takes longer than all before
    with open(f"{folder}/{i}.status", "w") as file:
        print(os.waitstatus_to_exitcode(os.wait()[1]), file=file)
"""


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """(exit status, stdout, stderr, workdir) of each of those commands: one process imports the package for all."""
    folder = tmp_path_factory.mktemp("forked")
    asked = [*REFUSED.values(), VERBOSE]
    places = [folder / f"w{i}" for i in range(len(asked))]
    commands = [[*one, f"--workdir={place}"] if one else one for one, place in zip(asked, places, strict=True)]
    arguments = [sys.executable, "-c", FORKS, str(folder), json.dumps(commands)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    def of(command):
        i = asked.index(command)
        status, shown, error = ((folder / f"{i}.{name}").read_text() for name in ("status", "out", "err"))
        return int(status), shown, error, places[i]

    return of


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_one_line_and_status_2(forked, message):
    status, shown, error, place = forked(REFUSED[message])
    assert status == 2
    assert message in error
    assert error.count("\n") == 1
    assert shown == ""
    assert not place.exists()


def test_verbose_shows_the_traceback(forked):
    status, _, error, _ = forked(VERBOSE)
    assert status == 2
    assert "Traceback" in error
    assert "seeds=0: must be at least 1" in error


FAILS = """
import sys, threading

from fmnist_jax import main

threading.Thread(target=threading.Event().wait).start()  # as one of Orbax's, after a save has failed
main.main = lambda argv: print("said") or 1
sys.argv = ["main.py", "--config=configs/mlp.py"]
main.run()
"""


def test_a_failure_ends_at_once_whatever_thread_it_leaves_behind():
    done = subprocess.run([sys.executable, "-c", FAILS], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (1, "said\n", "")


def config_flag(part="mapped"):
    return f"--config={ROOT / 'benchmarks/faults/config.py'}:{part}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of a part of benchmarks/faults/config.py: what a study that nobody disturbs comes to, and its seconds."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.getbasetemp() / "cache")

    @functools.cache
    def of(part):
        return subject.undisturbed(tmp_path_factory.mktemp("whole") / "w", part)

    return of


def programs():
    """The names of the compiled programs that are kept."""
    place = Path(os.environ["XDG_CACHE_HOME"]) / "fmnist_jax" / "xla"
    return {path.name for path in place.iterdir() if not path.name.endswith("-atime")}


def test_a_signal_saves_says_so_and_resumes_to_the_same_bits(whole, tmp_path):
    """And finds every program in the cache, which `whole` has filled: a second start and a third compile nothing.

    `python -m benchmarks.faults --only=kills,signals` for more, and for vmapped runs.
    """
    part, (wanted, _) = "mapped", whole("mapped")
    compiled = programs()
    assert compiled
    process = subprocess.Popen(
        subject.command(tmp_path, part), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "groups/0/metrics.jsonl").exists() or not (tmp_path / "groups/0/metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    shown, error = process.communicate(timeout=60)
    assert process.returncode == 143, shown + error
    assert "all saved; the same command goes on from there" in error
    assert subject.run(tmp_path, part)
    assert subject.differing(subject.outcome(tmp_path), wanted) == ""
    assert programs() == compiled


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(whole, tmp_path):
    part, (wanted, _) = "mapped", whole("mapped")
    limited = ["bash", "-c", 'ulimit -f 30; exec "$@"', "-", *subject.command(tmp_path, part)]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=120)
    status, error = done.returncode, done.stderr
    assert status == 1
    assert "file too large" in error
    assert "Traceback" not in error
    assert error.count("\n") == 1
    assert subject.run(tmp_path, part)
    assert subject.differing(subject.outcome(tmp_path), wanted) == ""


def test_a_plan_of_the_command_trains_nothing(tmp_path):
    status, shown, error = main(config_flag(), "--plan", f"--workdir={tmp_path / 'w'}")
    assert (status, error) == (0, "")
    assert "1 arms x 2 seeds x 1 folds: 2 runs; 2 to train, in 1 groups" in shown
    assert not (tmp_path / "w").exists()


def test_a_second_process_is_refused(tmp_path):
    from fmnist_jax import workdir

    with workdir.lock(tmp_path):
        status, _, error = main(config_flag(), f"--workdir={tmp_path}")
    assert status == 2
    assert f"in use by process {os.getpid()} on" in error
    assert error.count("\n") == 1
