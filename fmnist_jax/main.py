"""Flags -> config -> study -> table: `python -m fmnist_jax.main --config=configs/cnn.py`."""

import gc
import logging
import os
import re
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from fmnist_jax import config, errors, hosts, paper, program_cache, sharding, share, signals, store, study, terminal

_CONFIG = config_flags.DEFINE_config_file("config", None, "The question: a file in configs/, optionally file.py:part.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go and where a run goes on. Default: runs/<config name>."
)
_PLAN = flags.DEFINE_bool(
    "plan", False, "Show arms, runs, groups, parameters, estimated time and memory; train nothing."
)
_PROFILE = flags.DEFINE_string(
    "profile", None, "Trace a moment of each group's training into this new folder, and show where its time goes."
)
_RETRY = flags.DEFINE_bool("retry", False, "Train again the groups that failed.")
_ALLOW_CHANGE = flags.DEFINE_bool(
    "allow-config-change", False, "Go on under another config than the workdir's, if that moves no more than last bits."
)
_SHARD = flags.DEFINE_string(
    "shard", None, "I/N: train the I-th (from 0) of N shares of the study, in a workdir of its own or a shared one."
)
_CLAIM = flags.DEFINE_bool(
    "claim", False, "Share the workdir: take the groups that no other process has, and those of one that died."
)
_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    None,
    "Train every group on several hosts at once, this command on each of them and the workdir on a disk that all see: "
    "auto (SLURM, TPU VMs, ...), or I/N@HOST:PORT, the I-th (from 0) of N hosts and where host 0 is.",
)
_VERBOSE = flags.DEFINE_bool("verbose", False, "Show tracebacks and the libraries' own messages.")


def main(argv: list[str]) -> int:
    """Runs or resumes the config's study; returns the exit status."""
    if not _VERBOSE.value:  # Orbax logs every save at INFO, and every error that it also raises at ERROR
        absl_logging.set_verbosity(absl_logging.FATAL)
        sys.unraisablehook = _unraisable
    console, complain, together = Console(), Console(stderr=True), hosts.ALONE
    status, why = 1, ""
    try:
        if len(argv) > 1:
            raise errors.UserError(f"{argv[1]}: not a flag; the config is given as --config=FILE")
        checked, own = config.parse(_CONFIG.value), share.parse(_SHARD.value, _CLAIM.value)
        address = hosts.parse(_DISTRIBUTED.value)
        if address and not own.alone:
            raise errors.UserError(f"--distributed with {own}: take one; the first trains each group on all hosts")
        if address and (_PLAN.value or _PROFILE.value):
            raise errors.UserError("--distributed with --plan or --profile: they are of one host; ask them without it")
        together = hosts.join(address)
        sharding.configure(checked.platform)
        if not together.leads:
            console = Console(quiet=True)
        place = store.opened(_WORKDIR.value or Path("runs") / _config_name())
        if store.in_bucket(_WORKDIR.value or ""):
            if address:
                raise errors.UserError(
                    f"--distributed with --workdir={_WORKDIR.value}: hosts as one need a disk that all see; mount one "
                    "(NFS, Filestore, gcsfuse), or share the bucket with --claim"
                )
            own = share.Share(own.shard, claim=not own.shard)  # whoever comes to a bucket takes what is free
        if _PLAN.value:
            from fmnist_jax import plan

            place.look()
            (plan.show_paper if checked.paper.parts else plan.show)(checked, place.directory, console)
        elif _PROFILE.value:
            from fmnist_jax import profiling

            show = profiling.show_paper if checked.paper.parts else profiling.show
            show(checked, place.directory, Path(os.path.expanduser(_PROFILE.value)), console)
        elif checked.paper.parts:
            paper.run(checked, place, console, _RETRY.value, own, together, _ALLOW_CHANGE.value)
        else:
            study.run(checked, place, console, _RETRY.value, own, together, _ALLOW_CHANGE.value)
    except (errors.UserError, errors.RunError, OSError, MemoryError, jax.errors.JaxRuntimeError) as error:
        if _VERBOSE.value:
            traceback.print_exc()
        why = _one_line(error)
        terminal.say(complain, f"error: {why}")
        status = 2 if isinstance(error, errors.UserError) else 1
    except hosts.Ended as ended:
        terminal.say(complain, str(ended))
        status = ended.status
    except signals.Interrupted as stop:
        status = 128 + stop.signum
        raise
    else:
        status = 0
    finally:
        together.close(status, why)
    return status


def _unraisable(found) -> None:
    """Python's own hook, but for callbacks of an Orbax save that failed and was reported long before."""
    if "Event loop is closed" not in str(found.exc_value):
        sys.__unraisablehook__(found)


def _config_name() -> str:
    path, _, part = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    return Path(path).stem + (f"-{part}" if part else "").replace(",", "-").replace(" ", "")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return (
            f"{error.filename or 'writing results'}: {error.strerror}; free or choose another place with --workdir=DIR"
        )
    text = str(error)
    if isinstance(error, flags.Error) and "Traceback" in text:  # of the config file's own code: what it came to
        text = f"--config: {text.strip().splitlines()[-1]} (--verbose shows where)"
    text = " ".join(text.split())
    known = isinstance(error, (errors.UserError, errors.RunError, flags.Error))
    return text if known else f"{type(error).__name__}: {text}"


def _parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, with a bad config file, key or value refused in one line."""
    try:
        for argument, value in zip(argv[1:], [*argv[2:], ""], strict=False):
            _check_argument(f"{argument}={value}" if argument in ("--config", "-config") else argument)
        rest = flags.FLAGS(argv)
        if _CONFIG.value is None:
            raise errors.UserError("--config: missing; try --config=configs/cnn.py")
        if not isinstance(_CONFIG.value, ConfigDict):
            raise errors.UserError(
                "--config: its get_config() must return a ConfigDict, from fmnist_jax.config.default()"
            )
    except Exception as error:  # whatever a config file's own code raises
        if "--verbose" in argv:
            traceback.print_exc()
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    return rest


def _check_argument(argument: str) -> None:
    if (found := re.fullmatch(r"--?config=([^:]*)(:.*)?", argument)) and not Path(found[1]).is_file():
        there = ", ".join(sorted(map(str, Path("configs").glob("*.py")))) or "none in configs/"
        raise errors.UserError(f"--config={found[1]}: no such file; there are {there}")
    if found := re.fullmatch(r"--?(no)?config\.([\w.]+)(?:=(.*))?", argument, re.DOTALL):
        keys = config.flatten(config.Experiment())
        if found[2] not in keys:
            raise config.unknown_key(found[2])
        try:
            if type(keys[found[2]]) in (int, float) and found[3] is not None:
                type(keys[found[2]])(found[3])
        except ValueError:
            raise config.wrong_type(found[2], found[3]) from None


def _exit(status: int) -> NoReturn:
    if status == 1:  # a save that has failed may leave a thread of Orbax's that waits for it for minutes
        signals.leave(status)
    sys.exit(status)


def run() -> None:
    """Quiet libraries and a persistent compilation cache, then `main`, until a signal ends it."""
    gc.freeze()  # what is imported by now stays: nobody who collects garbage, between groups, need look at it
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sharding.keep_programs()
    program_cache.write_whole()
    sys.stdout, sys.stderr = terminal.Steadfast(sys.stdout), terminal.Steadfast(sys.stderr)
    logging.basicConfig(format="%(message)s")
    logging.getLogger().setLevel(logging.DEBUG if "--verbose" in sys.argv else logging.ERROR)
    logging.getLogger("fmnist_jax").setLevel(logging.INFO)
    with signals.listen():
        try:
            app.run(lambda argv: _exit(main(argv)), flags_parser=_parse_flags)
        except signals.Interrupted as stop:
            signals.leave(128 + stop.signum, f"{stop}\n")


if __name__ == "__main__":
    run()
