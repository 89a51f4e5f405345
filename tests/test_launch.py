"""The launchers: what they run, against stubs of `python`, `sbatch`, `scontrol` and `gcloud` that keep what they were
called with. What the stubs take for granted of the real ones is said where they are."""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CONFIG = "configs/cnn.py"
PROGRAM = ["python", "-m", "fmnist_jax.main", f"--config={CONFIG}"]
BUCKET = "--workdir=gs://bucket/cnn"
TPU = {"TPU_NAME": "tpu", "ZONE": "us-east5-b", "ACCELERATOR_TYPE": "v6e-8"}
# Of each command the flags that are used here, as its reference names them: sbatch(1), srun(1) of SLURM 22.05;
# https://cloud.google.com/sdk/gcloud/reference.
KNOWN = {
    "sbatch": "parsable job-name array nodes ntasks-per-node exclusive requeue signal open-mode dependency time",
    "srun": "ntasks-per-node cpu-bind kill-on-bad-exit",
    "tpu-vm create": "zone project accelerator-type spot version",
    "tpu-vm describe": "zone project format",
    "tpu-vm delete": "zone project quiet",
    "tpu-vm list": "zone project filter",
    "tpu-vm scp": "zone project worker quiet",
    "tpu-vm ssh": "zone project worker quiet ssh-flag command",
    "queued-resources create": "zone project accelerator-type spot runtime-version node-id",
    "queued-resources describe": "zone project format",
    "queued-resources delete": "zone project force quiet",
    "queued-resources list": "zone project filter",
    "storage rsync": "recursive exclude",
}

# Every stub writes its name and arguments down, and goes on with what is its own.
KEEP = """#!/usr/bin/env bash
printf '%s\\037' "${0##*/}" "$@" >>"$CALLS/calls"
printf '\\036' >>"$CALLS/calls"
"""
# Ends with the next status of the file `statuses`, at the end of it with 0; at the status "wait" it becomes WAITS.
ENDS = f"""
status=$(head -n 1 "$CALLS/statuses" 2>/dev/null)
sed -i 1d "$CALLS/statuses" 2>/dev/null
[[ $status == wait ]] && exec {sys.executable} -S -E "$CALLS/waits.py"
exit "${{status:-0}}"
"""
# Waits for signals, writes each down, and ends a moment after the first as the program does. To begin with it reads its
# standard input, which would stop it, were that a terminal that it is not in the foreground of.
WAITS = """
import pathlib, signal, sys, time
calls, got = pathlib.Path(__file__).parent, []
def note(number, frame):
    got.append(number)
    with (calls / "signals").open("a") as file:
        print(signal.Signals(number).name, file=file)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, note)
sys.stdin.read()
(calls / "started").touch()
end = time.monotonic() + 10
while not got:
    assert time.monotonic() < end
    time.sleep(0.01)
time.sleep(0.1)
(calls / "saved").write_text("saved")
sys.exit(128 + got[0])
"""
# As gcloud does: `describe` of what is not there says NOT_FOUND and ends with 1, and `ssh` ends as its command did. The
# files `tpu-vm` and `queued-resources` are what there is, and hold its state. A training ends as the next line of
# `statuses` says: "STATUS [STATE OF THE TPU THEN]".
GCLOUD = """
there=$CALLS/$3
case "$3 $4" in
  *" describe") cat "$there" 2>/dev/null || { echo "ERROR: (gcloud) NOT_FOUND: no $5" >&2; exit 1; } ;;
  "tpu-vm create")
    if [[ -s $CALLS/no_capacity ]]; then sed -i 1d "$CALLS/no_capacity"; exit 1; fi
    echo READY >"$there" ;;
  "queued-resources create") echo ACTIVE >"$there"; echo READY >"$CALLS/tpu-vm" ;;
  "queued-resources delete") rm "$there" "$CALLS/tpu-vm" ;;
  "tpu-vm delete") rm "$there" ;;
  "tpu-vm ssh")
    if [[ $* == *pkill* ]]; then kill -TERM "$(cat "$CALLS/trains")"; fi
    if [[ $* == *fmnist_jax.main*--config* ]]; then
      echo $$ >"$CALLS/trains"
      read -r _ state <"$CALLS/statuses"
      if [[ $state ]]; then
        echo "$state" >"$there"
        if [[ -e $CALLS/queued-resources ]]; then echo SUSPENDED >"$CALLS/queued-resources"; fi
        sed -i '1s/ .*//' "$CALLS/statuses"
      fi
      %s
    fi ;;
esac
"""


# What a script starts as: hearing signals, of which what runs the tests may ignore some, as in the background, and with
# "at" a terminal as its own. Not in a preexec_fn: a fork of a process in which JAX runs may hang.
STARTER = """
import fcntl, os, signal, sys, termios
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
if sys.argv[1] == "at":
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""
STARTED = (sys.executable, "-I", "-S", "-c", STARTER)


class Stubs:
    """A folder of stubs before everything else on the PATH, and what they were called with."""

    def __init__(self, folder: Path):
        self.folder, self.calls_folder = folder / "stubs of it all", folder / "calls"
        self.folder.mkdir()
        self.calls_folder.mkdir()
        self.started = []
        for name in ("srun", "scontrol", "scancel", "sleep", "tar"):
            self.add(name)
        self.file("waits.py", WAITS)
        self.add("python", ENDS)
        self.add("sbatch", 'echo "$((6 + $(tr -cd "\\036" <"$CALLS/calls" | wc -c)));cluster"')
        self.add("gcloud", GCLOUD % ENDS)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "TPU_", "JAX_"))},
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CALLS": str(self.calls_folder),
        }

    def add(self, name: str, body: str = "") -> None:
        (self.folder / name).write_text(KEEP + body)
        (self.folder / name).chmod(0o755)

    def file(self, name: str, *lines) -> Path:
        path = self.calls_folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def start(self, script: str, *arguments, **environment) -> subprocess.Popen:
        """In a process group of its own, as a terminal gives a command."""
        process = subprocess.Popen(
            [*STARTED, "without", f"launch/{script}", *map(str, arguments)],
            cwd=ROOT,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Ends what a test that failed has left."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def run(self, script: str, *arguments, **environment) -> subprocess.CompletedProcess:
        process = self.start(script, *arguments, **environment)
        out, err = process.communicate(timeout=20)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def until(self, name: str) -> None:
        """Waits until there is a file of this name."""
        end = time.monotonic() + 10
        while not (self.calls_folder / name).exists():
            assert time.monotonic() < end, f"no {name}"
            time.sleep(0.01)

    def read(self, name: str) -> str:
        path = self.calls_folder / name
        return path.read_text() if path.exists() else ""

    def calls(self, *names) -> list[list[str]]:
        """Of the stubs of these names, or of all but `sleep`."""
        calls = [call.split("\x1f")[:-1] for call in self.read("calls").split("\x1e")[:-1]]
        return [call for call in calls if (call[0] in names if names else call[0] != "sleep")]

    def verbs(self) -> list[str]:
        """What `gcloud` was told to do, without looks at states: `create`, `ssh: train`, ..."""
        verbs = []
        for call in self.calls("gcloud"):
            command = next((argument for argument in call if argument.startswith("--command=")), "")
            what = {"pkill": ": stop", "uv pip": ": install", "--config": ": train"}
            verbs.append(call[4] + next((name for word, name in what.items() if word in command), ""))
        return [verb for verb in verbs if verb != "describe"]


@contextlib.contextmanager
def terminal(stubs: Stubs, script: str, *arguments, **environment):
    """A script at a terminal, and a function that presses keys there."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [*STARTED, "at", f"launch/{script}", *arguments],
        cwd=ROOT,
        env=stubs.environment | environment,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process, functools.partial(os.write, ours)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours)
        os.close(theirs)


def ended(script: subprocess.Popen) -> int:
    script.communicate(timeout=10)
    return script.returncode


@pytest.fixture
def stubs(tmp_path):
    stubs = Stubs(tmp_path)
    yield stubs
    stubs.end()


# What all of them do


EVERY = [
    ("local.sh", (CONFIG, "--config.paper.question=what is it?")),
    ("slurm_array.sh", ("4", CONFIG, "--workdir=/a b/c", "--", "--time=1:00:00")),
    ("slurm_array.sh", ("4", CONFIG, "--workdir=/a b/c", "--claim")),
    ("slurm_multinode.sh", ("2", CONFIG, "--workdir=/a b/c", "--", "--time=1:00:00")),
    ("tpu_vm.sh", ("create",)),
    ("tpu_vm.sh", ("queue",)),
    ("tpu_vm.sh", ("install",)),
    ("tpu_vm.sh", ("run", CONFIG, BUCKET, "--config.paper.question=what is it?")),
    ("tpu_vm.sh", ("status",)),
    ("tpu_vm.sh", ("collect", "gs://bucket/cnn", "{tmp}/a b/c")),
    ("tpu_vm.sh", ("delete",)),
]


@pytest.mark.parametrize(
    ("script", "arguments"), EVERY, ids=lambda value: value if isinstance(value, str) else value[0]
)
def test_a_dry_run_runs_nothing_and_prints_what_a_run_runs(stubs, tmp_path, script, arguments):
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    stubs.file("tpu-vm", "READY")
    before = sorted(tmp_path.rglob("*"))
    dry = stubs.run(script, *arguments, "--dry-run", **TPU)
    assert (dry.returncode, dry.stderr) == (0, "")
    assert stubs.calls() == []
    assert sorted(tmp_path.rglob("*")) == before
    subprocess.run(["bash"], input=dry.stdout.replace("afterany:JOB", "afterany:7"), env=stubs.environment, text=True)
    printed = stubs.calls()
    assert len(printed) == len(re.findall("^(?!#|mkdir)", dry.stdout.rstrip(), re.MULTILINE))
    stubs.file("calls")
    stubs.file("tpu-vm", "READY")
    (stubs.calls_folder / "queued-resources").unlink(missing_ok=True)
    assert stubs.run(script, *arguments, **TPU).returncode == 0
    did = [call for call in stubs.calls() if "describe" not in call]
    if "run" in arguments:  # beyond its own, what a preemption would bring
        assert len(printed) == 7
        printed = printed[:1]
    if "delete" in arguments:  # of both, what there is
        assert "queued-resources" in printed.pop(0)
    assert printed == did


@pytest.mark.parametrize("script", ["local.sh", "slurm_array.sh", "slurm_multinode.sh", "tpu_vm.sh"])
def test_help_is_the_header(stubs, script):
    shown = stubs.run(script, "--help")
    assert shown.returncode == 0
    assert f"usage: launch/{script} [--dry-run]" in shown.stdout
    assert not re.search("^#|set -", shown.stdout, re.MULTILINE)
    assert stubs.calls() == []


@pytest.mark.parametrize(
    ("script", "arguments", "environment", "said"),
    [
        ("local.sh", (), {}, "CONFIG: missing"),
        ("slurm_array.sh", (), {}, "N=: must be a whole number of at least 1"),
        ("slurm_array.sh", ("0", CONFIG), {}, "N=0: must be"),
        ("slurm_array.sh", ("4",), {}, "CONFIG: missing"),
        ("slurm_array.sh", ("4", "configs/no.py:part"), {}, "configs/no.py: no such file"),
        ("slurm_array.sh", ("4", CONFIG), {}, "--workdir=DIR: missing"),
        ("slurm_multinode.sh", ("two", CONFIG), {}, "N=two: must be"),
        ("slurm_multinode.sh", ("2", "configs/no.py"), {}, "configs/no.py: no such file"),
        ("slurm_multinode.sh", ("2", CONFIG), {}, "--workdir=DIR: missing"),
        ("tpu_vm.sh", (), TPU, "COMMAND: missing; one of create,"),
        ("tpu_vm.sh", ("start",), TPU, "start: no such command"),
        ("tpu_vm.sh", ("create",), TPU | {"TPU_NAME": ""}, "TPU_NAME: not set"),
        ("tpu_vm.sh", ("create",), TPU | {"ZONE": ""}, "ZONE: not set"),
        ("tpu_vm.sh", ("create",), TPU | {"ACCELERATOR_TYPE": ""}, "ACCELERATOR_TYPE: not set"),
        ("tpu_vm.sh", ("queue",), TPU | {"ACCELERATOR_TYPE": "v9-8"}, "export RUNTIME_VERSION as well"),
        ("tpu_vm.sh", ("run", "configs/no.py", BUCKET), TPU, "configs/no.py: no such file"),
        ("tpu_vm.sh", ("run", str(ROOT / CONFIG), BUCKET), TPU, "not in this checkout"),
        ("tpu_vm.sh", ("run", CONFIG, "--workdir=runs/cnn"), TPU, "--workdir=gs://BUCKET/DIR: missing"),
        ("tpu_vm.sh", ("run", CONFIG, BUCKET), TPU | {"ACCELERATOR_TYPE": ""}, "ACCELERATOR_TYPE: not set"),
        ("tpu_vm.sh", ("run", CONFIG, BUCKET), TPU, "tpu: there is none in us-east5-b; make one"),
        ("tpu_vm.sh", ("collect", "gs://bucket/cnn"), TPU, "collect: give where from and where to"),
        ("tpu_vm.sh", ("collect", "bucket", "here"), TPU, "collect: give where from and where to"),
    ],
)
def test_bad_input_is_refused_in_a_line_before_anything_is_run(stubs, script, arguments, environment, said):
    refused = stubs.run(script, *arguments, **environment)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: ")
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert [call for call in stubs.calls() if "describe" not in call] == []


@pytest.mark.parametrize(
    ("script", "arguments", "program"),
    [
        ("slurm_array.sh", ("4", CONFIG, "--workdir=/c"), "sbatch"),
        ("slurm_multinode.sh", ("2", CONFIG, "--workdir=/c"), "sbatch"),
        ("tpu_vm.sh", ("create",), "gcloud"),
    ],
)
def test_a_program_that_is_not_there_is_named(stubs, script, arguments, program):
    (stubs.folder / program).unlink()
    for tool in ("bash", "dirname", "basename"):
        (stubs.folder / tool).symlink_to(shutil.which(tool))
    refused = stubs.run(script, *arguments, **TPU, PATH=str(stubs.folder))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: {program}: not found; ")


def test_only_flags_that_their_references_name(stubs):
    stubs.file("statuses", "1 PREEMPTED", 0)
    for script, arguments in [*EVERY, ("tpu_vm.sh", ("delete",))]:
        stubs.file("tpu-vm", "READY")
        stubs.run(script, *(argument.format(tmp=stubs.folder) for argument in arguments), **TPU, PROJECT_ID="project")
    seen = set()
    for call in stubs.calls("sbatch", "gcloud"):
        if call[0] == "sbatch":
            cut = call.index("launch/slurm_task.sh")
            check_flags("sbatch", call[:cut], seen)
            if "srun" in call:
                check_flags("srun", call[cut : call.index("python")], seen)
        else:
            check_flags(" ".join(call[1:3] if call[1] == "storage" else call[3:5]), call, seen)
    assert seen == set(KNOWN)


def check_flags(command: str, arguments: list[str], seen: set[str]) -> None:
    flags = {argument[2:].partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert flags <= set(KNOWN[command].split()), command
    seen.add(command)


# On this machine


def test_local_goes_on_after_crashes_with_the_same_command(stubs):
    stubs.file("statuses", 1, 137, 0)
    done = stubs.run("local.sh", CONFIG, "--workdir=/a b/c", "--config.seeds=(0,1)")
    assert done.returncode == 0
    assert stubs.calls() == 3 * [[*PROGRAM, "--workdir=/a b/c", "--config.seeds=(0,1)"]]
    assert "ended with status 137; try 3 of 5 goes on from the newest checkpoint" in done.stderr


def test_local_ends_as_the_fifth_crash_did(stubs):
    stubs.file("statuses", 1, 1, 1, 1, 7, 0)
    assert stubs.run("local.sh", CONFIG).returncode == 7
    assert len(stubs.calls()) == 5


@pytest.mark.parametrize("status", [0, 2, 130, 143])
def test_local_tries_what_is_done_bad_or_stopped_no_second_time(stubs, status):
    stubs.file("statuses", status, 0)
    assert stubs.run("local.sh", CONFIG).returncode == status
    assert len(stubs.calls()) == 1


@pytest.mark.parametrize(("number", "name", "status"), [
    (signal.SIGINT, "SIGINT", 130), (signal.SIGTERM, "SIGTERM", 143), (signal.SIGHUP, "SIGTERM", 143)
])  # fmt: skip
@pytest.mark.parametrize("send", [os.kill, os.killpg])
def test_local_passes_a_signal_on_once_and_waits_for_the_save(stubs, number, name, status, send):
    """A second one would end the program at once; Ctrl-C is sent to the whole group."""
    stubs.file("statuses", "wait")
    script = stubs.start("local.sh", CONFIG)
    stubs.until("started")
    send(script.pid, number)
    assert ended(script) == status
    assert stubs.read("signals").split() == [name]
    assert stubs.read("saved")
    assert len(stubs.calls()) == 1


def test_local_passes_ctrl_c_at_a_terminal_on_once(stubs):
    stubs.file("statuses", "wait")
    with terminal(stubs, "local.sh", CONFIG) as (script, press):
        stubs.until("started")
        press(b"\x03")
        assert script.wait(timeout=10) == 130
    assert stubs.read("signals").split() == ["SIGINT"]
    assert stubs.read("saved")


def test_local_stops_at_ctrl_c_between_two_tries(stubs):
    stubs.file("statuses", 1, 0)
    stubs.add("sleep", 'echo >"$CALLS/sleeps"; command -p sleep 20')
    with terminal(stubs, "local.sh", CONFIG) as (script, press):
        stubs.until("sleeps")
        press(b"\x03")
        assert script.wait(timeout=10) == 130
    assert len(stubs.calls()) == 1


def test_local_stops_between_two_tries(stubs):
    stubs.file("statuses", 1, 0)
    stubs.add("sleep", 'echo >"$CALLS/sleeps"; command -p sleep 0.3')
    script = stubs.start("local.sh", CONFIG)
    stubs.until("sleeps")
    script.terminate()
    assert ended(script) == 143
    assert len(stubs.calls()) == 1


# SLURM


def test_an_array_is_a_task_a_shard_and_a_report_after_all(stubs):
    submitted = stubs.run("slurm_array.sh", 4, CONFIG, "--workdir=/a b/c", "--config.seeds=(0,1)", "--", "--time=60")
    assert submitted.returncode == 0
    assert submitted.stdout == "7;cluster\n8;cluster\n"
    array, report = stubs.calls()
    assert array[:8] == [
        *("sbatch", "--parsable", "--job-name=cnn.py", "--array=0-3", "--requeue", "--signal=B:USR1@60"),
        *("--open-mode=append", "--time=60"),
    ]
    assert array[8] == "launch/slurm_task.sh"
    assert array[9:] == [*PROGRAM, "--workdir=/a b/c", "--config.seeds=(0,1)", "--shard=%a/4"]
    assert report == [
        *("sbatch", "--parsable", "--job-name=cnn.py-report", "--dependency=afterany:7", "--time=60"),
        *("launch/slurm_task.sh", "python", "-m", "fmnist_jax.report", "--workdir=/a b/c"),
    ]


def test_an_array_may_claim_groups(stubs):
    assert stubs.run("slurm_array.sh", 4, CONFIG, "--claim", "--workdir=/c").returncode == 0
    assert stubs.calls()[0][-3:] == [f"--config={CONFIG}", "--workdir=/c", "--claim"]


def test_no_report_is_asked_for_where_the_array_was_refused(stubs):
    stubs.add("sbatch", "exit 9")
    assert stubs.run("slurm_array.sh", 4, CONFIG, "--workdir=/c").returncode == 9
    assert len(stubs.calls()) == 1


def test_multinode_is_a_task_a_node(stubs):
    assert stubs.run("slurm_multinode.sh", 2, CONFIG, "--workdir=/a b/c", "--", "--time=60").returncode == 0
    (call,) = stubs.calls()
    assert {"--nodes=2", "--ntasks-per-node=1", "--requeue", "--signal=B:USR1@60", "--time=60"} <= set(call)
    srun = call[call.index("srun") :]
    assert "--ntasks-per-node=1" in srun
    assert srun[srun.index("python") :] == [*PROGRAM, "--workdir=/a b/c", "--distributed=auto"]


def test_what_is_submitted_is_there_and_can_be_run():
    assert os.access(ROOT / "launch/slurm_task.sh", os.X_OK)


def task(stubs, *arguments, start=Stubs.run, **environment):
    return start(stubs, "slurm_task.sh", *arguments, SLURM_JOB_ID="70", **environment)


def test_a_task_takes_its_shard(stubs):
    task(stubs, *PROGRAM, "--workdir=/%a b", "--shard=%a/4", SLURM_ARRAY_TASK_ID="3")
    assert stubs.calls() == [[*PROGRAM, "--workdir=/%a b", "--shard=3/4"]]


def test_a_task_sees_all_gpus_of_its_node(stubs):
    stubs.add("python", 'echo "${JAX_LOCAL_DEVICE_IDS-none}"')
    assert task(stubs, "python", SLURM_GPUS_ON_NODE="4").stdout == "0,1,2,3\n"
    assert task(stubs, "python").stdout == "none\n"


def test_a_task_tries_a_crash_again_and_bad_input_not(stubs):
    stubs.file("statuses", 1, 0)
    assert task(stubs, "python").returncode == 0
    stubs.file("statuses", 2, 0)
    assert task(stubs, "python").returncode == 2
    stubs.file("statuses", 1, 1, 1, 1, 7, 0)
    assert task(stubs, "python").returncode == 7
    assert stubs.calls("python", "scontrol") == 8 * [["python"]]


def test_a_task_whose_time_is_up_saves_and_is_put_back(stubs):
    stubs.file("statuses", "wait")
    script = task(stubs, "python", start=Stubs.start)
    stubs.until("started")
    os.kill(script.pid, signal.SIGUSR1)
    assert ended(script) == 143
    assert stubs.read("signals").split() == ["SIGTERM"]
    assert stubs.read("saved")
    assert stubs.calls() == [["python"], ["scontrol", "requeue", "Incomplete", "70"]]


def test_srun_is_not_told_that_time_is_up_but_what_it_runs(stubs):
    """At SIGTERM srun kills its tasks (seen of SLURM 22.05); scancel signals the steps past it."""
    stubs.add("srun", "exec python")
    stubs.add("scancel", 'kill -TERM "$(cat "$CALLS/trains")"')
    stubs.add("python", 'echo $$ >"$CALLS/trains"' + ENDS)
    stubs.file("statuses", "wait")
    script = task(stubs, "srun", "python", start=Stubs.start)
    stubs.until("started")
    os.kill(script.pid, signal.SIGUSR1)
    assert ended(script) == 143
    assert stubs.read("signals").split() == ["SIGTERM"]
    assert stubs.calls("scancel", "scontrol") == [
        ["scancel", "--signal=TERM", "70"],
        ["scontrol", "requeue", "Incomplete", "70"],
    ]


def test_a_task_that_slurm_ends_saves_and_is_put_back(stubs):
    """SLURM sends SIGTERM to the whole job; a second one, passed on, would end the program at once."""
    stubs.file("statuses", "wait")
    script = task(stubs, "python", start=Stubs.start)
    stubs.until("started")
    os.killpg(script.pid, signal.SIGTERM)
    assert ended(script) == 143
    assert stubs.read("signals").split() == ["SIGTERM"]
    assert stubs.read("saved")
    assert stubs.calls() == [["python"], ["scontrol", "requeue", "Incomplete", "70"]]


def test_a_task_that_alone_was_told_is_put_back(stubs):
    """At preemption SLURM may signal the steps, not this shell."""
    stubs.file("statuses", 143)
    assert task(stubs, "python").returncode == 143
    assert stubs.calls() == [["python"], ["scontrol", "requeue", "Incomplete", "70"]]


def test_a_task_whose_time_is_up_between_two_tries_is_put_back(stubs):
    stubs.file("statuses", 1, 0)
    stubs.add("sleep", 'echo >"$CALLS/sleeps"; command -p sleep 0.3')
    script = task(stubs, "python", start=Stubs.start)
    stubs.until("sleeps")
    os.kill(script.pid, signal.SIGUSR1)
    assert ended(script) == 1
    assert stubs.calls("python", "scontrol") == [["python"], ["scontrol", "requeue", "Incomplete", "70"]]


# Cloud TPU


@pytest.mark.parametrize(("kind", "image"), [
    ("v6e-8", "v2-alpha-tpuv6e"),
    ("v5p-8", "v2-alpha-tpuv5"),
    ("v5litepod-16", "v2-alpha-tpuv5-lite"),
    ("v4-8", "tpu-ubuntu2204-base"),
    ("v2-8", "tpu-ubuntu2204-base"),
])  # fmt: skip
def test_a_tpu_has_the_image_of_its_kind(stubs, kind, image):
    environment = TPU | {"ACCELERATOR_TYPE": kind}
    assert stubs.run("tpu_vm.sh", "create", **environment).returncode == 0
    assert stubs.run("tpu_vm.sh", "queue", **environment, SPOT="0", PROJECT_ID="p").returncode == 0
    assert stubs.run("tpu_vm.sh", "create", **environment, RUNTIME_VERSION="my-image").returncode == 0
    created, queued, mine = (call[4:] for call in stubs.calls("gcloud"))
    kind = f"--accelerator-type={kind}"
    assert created == ["create", "tpu", "--zone=us-east5-b", kind, "--spot", f"--version={image}"]
    where = ["--node-id=tpu", "--zone=us-east5-b", "--project=p"]
    assert queued == ["create", "tpu", *where, kind, f"--runtime-version={image}"]
    assert mine[-1] == "--version=my-image"


def test_install_takes_the_checkout_to_all_workers(stubs):
    stubs.file("tpu-vm", "READY")
    assert stubs.run("tpu_vm.sh", "install", **TPU, TMPDIR="/a b").returncode == 0
    packed, copied, installed = stubs.calls()
    tarball = "/a b/fmnist_jax-tpu.tar.gz"
    assert packed[:2] == ["tar", "-czf"]
    assert packed[2] == tarball
    there = packed[packed.index("-C") + 1 :]
    assert all((ROOT / there[0] / name).exists() for name in there[2:])
    assert {"requirements.txt", "fmnist_jax", "configs"} == set(there[2:])
    assert copied[4:7] == ["scp", tarball, "tpu:fmnist_jax.tar.gz"]
    for call in (copied, installed):
        assert "--worker=all" in call
    assert "-r requirements.txt gcsfs 'jax[tpu]'" in installed[-1]


def test_a_failed_copy_is_not_installed(stubs):
    stubs.add("tar", "exit 3")
    assert stubs.run("tpu_vm.sh", "install", **TPU).returncode == 3
    assert stubs.calls("gcloud") == []


def trains(stubs, *flags, start=Stubs.run, **environment):
    return start(stubs, "tpu_vm.sh", "run", CONFIG, BUCKET, *flags, **TPU, **environment)


@pytest.mark.parametrize("status", [0, 2, 130])
def test_a_tpu_trains_until_done_bad_or_stopped(stubs, status):
    stubs.file("tpu-vm", "READY")
    stubs.file("statuses", status, 0)
    ran = trains(stubs, "--config.paper.question=what's it?")
    assert ran.returncode == status
    assert "launch/tpu_vm.sh delete" in ran.stderr  # or it costs on
    (call,) = [call for call in stubs.calls("gcloud") if "ssh" in call]
    assert "--worker=all" in call
    command = call[-1].removeprefix("--command=")
    # What the shell of the worker makes of it, in place of `flock`.
    bash = ["bash", "-c", "cd() { :; }; exec() { printf '%s\\n' \"$@\"; }; " + command]
    words = subprocess.run(bash, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words == [
        *("flock", "--no-fork", "../fmnist_jax.lock", ".venv/bin/python", "-m", "fmnist_jax.main"),
        *(f"--config={CONFIG}", BUCKET, "--config.paper.question=what's it?", "--claim"),
    ]


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED"])
@pytest.mark.parametrize("status", [1, 143, 255])
def test_a_preempted_tpu_is_made_and_installed_again_and_goes_on(stubs, status, state):
    stubs.file("tpu-vm", "READY")
    stubs.file("statuses", f"{status} {state}", 0)
    assert trains(stubs).returncode == 0
    assert stubs.verbs() == ["ssh: train", "delete", "create", "scp", "ssh: install", "ssh: train"]
    first, second = (call for call in stubs.calls("gcloud") if "--config=" in call[-1])
    assert first == second


def test_preemptions_are_no_crashes(stubs):
    stubs.file("tpu-vm", "READY")
    stubs.file("statuses", *5 * ["255 PREEMPTED"], 0)
    assert trains(stubs).returncode == 0
    assert stubs.verbs().count("ssh: train") == 6


def test_a_preempted_tpu_of_the_queue_is_queued_again(stubs):
    stubs.file("tpu-vm", "READY")
    stubs.file("queued-resources", "ACTIVE")
    stubs.file("statuses", "255 PREEMPTED", 0)
    assert trains(stubs).returncode == 0
    assert stubs.verbs() == ["ssh: train", "delete", "create", "scp", "ssh: install", "ssh: train"]
    kinds = [call[3] for call in stubs.calls("gcloud") if call[4] in ("create", "delete")]
    assert kinds == ["queued-resources", "queued-resources"]


def test_a_tpu_that_was_preempted_before_is_made_first(stubs):
    stubs.file("tpu-vm", "PREEMPTED")
    assert trains(stubs).returncode == 0
    assert stubs.verbs() == ["delete", "create", "scp", "ssh: install", "ssh: train"]


def test_a_place_in_the_queue_is_waited_for(stubs):
    stubs.file("queued-resources", "WAITING_FOR_RESOURCES")
    stubs.add("sleep", 'echo ACTIVE >"$CALLS/queued-resources"; echo READY >"$CALLS/tpu-vm"')
    assert trains(stubs).returncode == 0
    assert stubs.verbs() == ["ssh: train"]


def test_capacity_is_waited_for(stubs):
    stubs.file("tpu-vm", "PREEMPTED")
    stubs.file("no_capacity", 1, 2)
    assert trains(stubs).returncode == 0
    assert stubs.verbs() == ["delete", "create", "create", "create", "scp", "ssh: install", "ssh: train"]


def test_a_state_that_cannot_be_said_is_no_preemption(stubs):
    """A network that is away for a moment must not cost a TPU."""
    stubs.file("tpu-vm", "READY")
    real = (stubs.folder / "gcloud").read_text()
    stubs.file("away", 1, 2, 3)
    away = 'if [[ $4 == describe && -s $CALLS/away ]]; then sed -i 1d "$CALLS/away"; echo no network; exit 1; fi'
    stubs.add("gcloud", away + real.removeprefix(KEEP))
    assert trains(stubs).returncode == 0
    assert stubs.verbs() == ["ssh: train"]


def test_a_stopped_tpu_is_left_alone(stubs):
    stubs.file("tpu-vm", "STOPPED")
    refused = trains(stubs)
    assert refused.returncode == 2
    assert "tpu-vm start tpu --zone=us-east5-b" in refused.stderr
    assert stubs.verbs() == []


def test_a_crash_on_a_tpu_is_tried_again_up_to_the_fifth(stubs):
    stubs.file("tpu-vm", "READY")
    stubs.file("statuses", 1, 1, 1, 1, 7, 0)
    assert trains(stubs).returncode == 7
    assert stubs.verbs() == 5 * ["ssh: train"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_tells_all_workers_to_save_and_waits(stubs, number):
    stubs.file("tpu-vm", "READY")
    stubs.file("statuses", "wait")
    script = trains(stubs, start=Stubs.start)
    stubs.until("started")
    os.killpg(script.pid, number)
    assert ended(script) == 143
    assert stubs.read("signals").split() == ["SIGTERM"]
    assert stubs.read("saved")
    assert stubs.verbs() == ["ssh: train", "ssh: stop"]
    (told,) = [call for call in stubs.calls("gcloud") if "pkill" in call[-1]]
    assert "--worker=all" in told


def test_ctrl_c_at_a_terminal_does_not_reach_gcloud(stubs):
    stubs.file("tpu-vm", "READY")
    stubs.file("statuses", "wait")
    with terminal(stubs, "tpu_vm.sh", "run", CONFIG, BUCKET, **TPU) as (script, press):
        stubs.until("started")
        press(b"\x03")
        assert script.wait(timeout=10) == 143
    assert stubs.read("signals").split() == ["SIGTERM"]
    assert stubs.verbs() == ["ssh: train", "ssh: stop"]


def test_a_second_ctrl_c_waits_no_longer(stubs):
    stubs.file("tpu-vm", "READY")
    stubs.file("statuses", "wait")
    stubs.add("gcloud", (GCLOUD % ENDS).replace('kill -TERM "$(cat "$CALLS/trains")"', 'echo >"$CALLS/told"'))
    with terminal(stubs, "tpu_vm.sh", "run", CONFIG, BUCKET, **TPU) as (script, press):
        stubs.until("started")
        press(b"\x03")
        stubs.until("told")
        time.sleep(0.1)
        assert script.poll() is None
        press(b"\x03")
        assert script.wait(timeout=10) == 130
        stubs.file("statuses", 0)
    os.kill(int(stubs.read("trains")), signal.SIGTERM)


def test_a_tpu_whose_state_cannot_be_asked_is_not_made(stubs):
    stubs.add("gcloud", "echo 'no account' >&2; exit 1")
    refused = trains(stubs)
    assert refused.returncode == 2
    assert refused.stderr == "no account\nerror: tpu: its state cannot be asked; see above\n"


def test_a_warning_of_gcloud_is_no_part_of_the_state(stubs):
    stubs.file("tpu-vm", "READY")
    stubs.add("gcloud", "echo 'updates are available' >&2\n" + GCLOUD % ENDS)
    assert trains(stubs).returncode == 0
    assert stubs.verbs() == ["ssh: train"]


def test_a_worker_without_the_checkout_says_what_to_do(stubs, tmp_path):
    stubs.file("tpu-vm", "READY")
    assert trains(stubs).returncode == 0
    command = stubs.calls("gcloud")[-1][-1].removeprefix("--command=")
    ran = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "launch/tpu_vm.sh install" in ran.stdout


def test_a_second_start_on_a_worker_waits_for_the_first(stubs, tmp_path):
    """gcloud, too, starts a command again whose connection broke."""
    stubs.file("tpu-vm", "READY")
    assert trains(stubs).returncode == 0
    command = stubs.calls("gcloud")[-1][-1].removeprefix("--command=")
    (tmp_path / "fmnist_jax/.venv/bin").mkdir(parents=True)
    (tmp_path / "fmnist_jax/.venv/bin/python").symlink_to(stubs.folder / "python")
    stubs.file("statuses", "wait", 5)
    start = functools.partial(
        subprocess.Popen, ["bash", "-c", command], cwd=tmp_path, env=stubs.environment, stdin=subprocess.DEVNULL
    )
    first = start()
    stubs.until("started")
    second = start()
    time.sleep(0.2)
    assert second.poll() is None
    first.terminate()  # as `pkill` would: the process is the program itself
    assert (first.wait(timeout=10), second.wait(timeout=10)) == (143, 5)


def test_delete_deletes_what_there_is(stubs):
    stubs.file("tpu-vm", "READY")
    assert stubs.run("tpu_vm.sh", "delete", **TPU).returncode == 0
    assert stubs.verbs() == ["delete"]
    stubs.file("tpu-vm", "READY")
    stubs.file("queued-resources", "ACTIVE")
    assert stubs.run("tpu_vm.sh", "delete", **TPU).returncode == 0
    deleted = [call[3:] for call in stubs.calls("gcloud") if "delete" in call]
    assert deleted == [
        ["tpu-vm", "delete", "tpu", "--zone=us-east5-b", "--quiet"],
        ["queued-resources", "delete", "tpu", "--zone=us-east5-b", "--force", "--quiet"],
    ]
    assert stubs.run("tpu_vm.sh", "delete", **TPU).returncode == 0
    assert stubs.verbs() == ["delete", "delete"]


def test_collect_leaves_the_checkpoints(stubs, tmp_path):
    assert stubs.run("tpu_vm.sh", "collect", "gs://bucket/cnn", tmp_path / "a b").returncode == 0
    assert (tmp_path / "a b").is_dir()
    (call,) = stubs.calls()
    assert call[-2:] == ["gs://bucket/cnn", str(tmp_path / "a b")]
    excluded = re.compile(call[-3].removeprefix("--exclude="))
    assert excluded.match("groups/0/checkpoints/12/manifest.json")
    assert not excluded.match("groups/0/metrics.jsonl")


# Kubernetes and SkyPilot


@pytest.fixture(scope="module")
def job() -> dict:
    job, claim = yaml.safe_load_all((ROOT / "launch/k8s_job.yaml").read_text())
    assert (job["apiVersion"], job["kind"], claim["kind"]) == ("batch/v1", "Job", "PersistentVolumeClaim")
    volume = job["spec"]["template"]["spec"]["volumes"][0]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    return job["spec"]


def test_a_pod_of_the_job_trains_its_share(stubs, job):
    (container,) = job["template"]["spec"]["containers"]
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == int(variables["SHARDS"])
    assert (ROOT / variables["CONFIG"]).exists()
    assert Path(variables["WORKDIR"]).is_relative_to(container["volumeMounts"][0]["mountPath"])
    stubs.file("statuses", 7)
    environment = stubs.environment | variables | {"JOB_COMPLETION_INDEX": "3", "SHARDS": "5", "WORKDIR": "/a b/c"}
    ended = subprocess.run([*container["command"], *container["args"]], env=environment)
    assert ended.returncode == 7
    assert stubs.calls() == [
        ["python", "-m", "fmnist_jax.main", f"--config={variables['CONFIG']}", "--workdir=/a b/c", "--shard=3/5"]
    ]


def test_the_job_fails_on_bad_input_and_leaves_time_to_save(job):
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 60
    assert job["backoffLimit"] == 20
    fail, stopped, evicted = job["podFailurePolicy"]["rules"]
    assert (fail["action"], fail["onExitCodes"]["values"]) == ("FailJob", [2])
    assert (stopped["action"], stopped["onExitCodes"]["values"]) == ("Ignore", [143])
    assert (evicted["action"], evicted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    for rule in (fail, stopped):
        assert rule["onExitCodes"]["containerName"] == pod["containers"][0]["name"]


def test_skypilot_nodes_claim_groups(stubs):
    sky = yaml.safe_load((ROOT / "launch/skypilot.yaml").read_text())
    assert sky["num_nodes"] > 1
    assert sky["resources"]["use_spot"] is True
    assert sky["resources"]["job_recovery"] == {"recover_on_exit_codes": [143]}
    assert sky["envs"]["WORKDIR"] is None  # SkyPilot refuses to start until it is given
    assert (ROOT / sky["envs"]["CONFIG"]).exists()
    assert "-r requirements.txt" in sky["setup"]
    home = stubs.folder / "home"
    (home / "fmnist_jax/bin").mkdir(parents=True)
    (home / "fmnist_jax/bin/activate").touch()
    stubs.file("statuses", 1, 2)
    environment = stubs.environment | {"CONFIG": CONFIG, "WORKDIR": "s3://bucket/cnn", "HOME": str(home)}
    ended = subprocess.run(["bash", "-c", sky["run"]], env=environment, cwd=ROOT, capture_output=True)
    assert ended.returncode == 2
    assert stubs.calls() == 2 * [[*PROGRAM, "--workdir=s3://bucket/cnn", "--claim"]]


def test_shellcheck_finds_nothing():
    scripts = [*(ROOT / "launch").glob("*.sh"), *(ROOT / "launch").glob("*.bash")]
    assert len(scripts) == 6
    shellcheck = shutil.which("shellcheck") or shutil.which("shellcheck", path=Path(sys.executable).parent)
    if shellcheck is None:
        pytest.skip("no shellcheck: pip install -r requirements-dev.txt")
    found = subprocess.run([shellcheck, *scripts], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
