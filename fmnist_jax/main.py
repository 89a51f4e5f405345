"""Flags -> config -> study -> table: `python -m fmnist_jax.main --config=configs/cnn.py`."""

import logging
import os
import re
import sys
from pathlib import Path

import jax
from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags
from rich.console import Console

from fmnist_jax import config, errors, session, sharding, study
from fmnist_jax.data import cache

_CONFIG = config_flags.DEFINE_config_file("config", None, "The question: a file in configs/, optionally file.py:part.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where results go and where a run goes on. Default: runs/<config name>."
)
_VERBOSE = flags.DEFINE_bool("verbose", False, "Show tracebacks and the libraries' own messages.")


def main(argv: list[str]) -> int:
    """Runs or resumes the config's study; returns the exit status."""
    absl_logging.set_verbosity(
        absl_logging.INFO if _VERBOSE.value else absl_logging.ERROR
    )  # Orbax tells its life story
    console, complain = Console(), Console(stderr=True)
    try:
        if len(argv) > 1:
            raise errors.UserError(f"{argv[1]}: not a flag; the config is given as --config=FILE")
        if _CONFIG.value is None:
            raise errors.UserError("--config: missing; try --config=configs/cnn.py")
        checked = config.parse(_CONFIG.value)
        sharding.configure(checked.platform)
        study.run(checked, Path(_WORKDIR.value or Path("runs") / _config_name()), console)
    except (errors.UserError, errors.RunError, OSError) as error:
        if _VERBOSE.value:
            raise
        complain.print(f"error: {_one_line(error)}", markup=False, highlight=False, soft_wrap=True)
        return 2 if isinstance(error, errors.UserError) else 1
    except session.Interrupted as stop:
        complain.print(str(stop), markup=False, highlight=False, soft_wrap=True)
        return 128 + stop.signum
    return 0


def _config_name() -> str:
    path, _, part = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    return Path(path).stem + (f"-{part}" if part else "")


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return (
            f"{error.filename or 'writing results'}: {error.strerror}; free or choose another place with --workdir=DIR"
        )
    return " ".join(str(error).split())


def _parse_flags(argv: list[str]) -> list[str]:
    """absl's parser, with unknown and malformed config keys refused in one line."""
    try:
        for argument in argv[1:]:
            if found := re.match(r"--(?:no)?config\.([\w.]+)", argument):
                known = config.flatten(config.Experiment())
                if found[1] not in known and not any(key.startswith(found[1] + ".") for key in known):
                    raise config.unknown_key(found[1])
        return flags.FLAGS(argv)
    except (
        flags.Error,
        errors.UserError,
        OSError,
        SyntaxError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        if "--verbose" in argv:
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)


def run() -> None:
    """Quiet libraries and a persistent compilation cache, then `main`."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache.root() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    logging.basicConfig(format="%(message)s")
    logging.getLogger().setLevel(logging.DEBUG if "--verbose" in sys.argv else logging.ERROR)
    logging.getLogger("fmnist_jax").setLevel(logging.INFO)
    app.run(lambda argv: sys.exit(main(argv)), flags_parser=_parse_flags)


if __name__ == "__main__":
    run()
