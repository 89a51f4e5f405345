"""The command as a user types it: exit status, one line an error, kills and signals."""

import functools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import kills
import pytest

ROOT = Path(__file__).parent.parent
BOTH = pytest.mark.parametrize("part", ["mapped", "vmapped"])


def main(*arguments):
    """(exit status, stdout, stderr) of the command."""
    command = [sys.executable, "-m", "fmnist_jax.main", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: --config: missing; try --config=configs/cnn.py"),
        (["--config=configs/nn.py"], "error: --config=configs/nn.py: no such file; there are configs/acosta.py"),
        (["--config=configs/cnn.py", "--config.seeds=two"], "error: seeds='two': must be a whole number, such as 1"),
        (["--config=configs/cnn.py", "--config.model.filtres=4,"], "did you mean model.filters?"),
        (["--config=configs/cnn.py", "--config.optimizer.lr=1"], "optimizer.lr: no such key; there are optimizer.name"),
        (["--config=configs/cnn.py", "--config.optimizer.name=adm"], "did you mean 'adam'?"),
        (["--config=configs/cnn.py", "--config.train.duration=0 epochs"], "must be more than zero"),
        (["--config=tests/broken_config.py"], "error: --config: TypeError: "),
        (["--config=configs/report234591.py:four_conv"], "no part 'four_conv'; there are architecture, rate"),
        (["--config=configs/synthetic.py", "--config.platform=tpu"], "platform='tpu': JAX finds no such device here"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path):
    status, shown, error = main(*arguments, *([f"--workdir={tmp_path / 'w'}"] if arguments else []))
    assert status == 2
    assert message in error
    assert error.count("\n") == 1
    assert shown == ""
    assert not (tmp_path / "w").exists()


def test_verbose_shows_the_traceback(tmp_path):
    status, _, error = main("--config=configs/cnn.py", "--config.seeds=0", "--verbose", f"--workdir={tmp_path}")
    assert status == 2
    assert "Traceback" in error
    assert "seeds=0: must be at least 1" in error


def config_flag(part="mapped"):
    return f"--config={ROOT / 'tests/kill_config.py'}:{part}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of a part of kill_config: what a run of it that nobody disturbs comes to, and its seconds."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.getbasetemp() / "cache")

    @functools.cache
    def of(part):
        return kills.undisturbed(tmp_path_factory.mktemp("whole") / "w", part)

    return of


@BOTH
def test_law_2_killed_and_resumed_has_the_bits_of_an_unkilled_run(whole, part, tmp_path):
    """One random moment a mode here; `python tests/kills.py --kills 20` for more."""
    wanted, seconds = whole(part)
    got = kills.trial(tmp_path / "w", part, seconds, random.Random(tmp_path.name))
    assert got.keys() == wanted.keys()
    assert [k for k in wanted if got[k] != wanted[k]] == []


@pytest.mark.parametrize(
    ("part", "signum", "status"), [("mapped", signal.SIGTERM, 143), ("vmapped", signal.SIGINT, 130)]
)
def test_a_signal_saves_says_so_and_resumes_to_the_same_bits(whole, tmp_path, part, signum, status):
    wanted, _ = whole(part)
    process = subprocess.Popen(
        kills.command(tmp_path, part), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "groups/0/metrics.jsonl").exists() or not (tmp_path / "groups/0/metrics.jsonl").read_text():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signum)
    shown, error = process.communicate(timeout=60)
    assert process.returncode == status, shown + error
    assert "all saved; the same command goes on from there" in error
    assert kills.run(tmp_path, part)
    got = kills.outcome(tmp_path)
    assert [k for k in wanted if got[k] != wanted[k]] == []


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(whole, tmp_path):
    part, (wanted, _) = "mapped", whole("mapped")
    limited = ["bash", "-c", 'ulimit -f 30; exec "$@"', "-", *kills.command(tmp_path, part)]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=120)
    status, error = done.returncode, done.stderr
    assert status == 1
    assert "file too large" in error
    assert "Traceback" not in error
    assert error.count("\n") == 1
    assert kills.run(tmp_path, part)
    got = kills.outcome(tmp_path)
    assert [k for k in wanted if got[k] != wanted[k]] == []


@BOTH
def test_a_second_start_finds_every_program_in_the_cache(whole, part, tmp_path):
    """`whole` has filled the cache: a new workdir compiles nothing, so no program is added."""
    whole(part)
    programs = Path(os.environ["XDG_CACHE_HOME"]) / "fmnist_jax" / "xla"
    before = {p.name for p in programs.iterdir() if not p.name.endswith("-atime")}
    assert before
    assert kills.run(tmp_path, part)
    assert {p.name for p in programs.iterdir() if not p.name.endswith("-atime")} == before


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
