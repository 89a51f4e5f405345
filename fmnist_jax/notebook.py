"""`fmnist_jax.run`: a study from Python, as the command runs it."""

import time
from pathlib import Path

from rich.console import Console

from fmnist_jax import config, paper, results, sharding, study, terminal


def run(asked, workdir: str | None, retry: bool) -> results.Results | paper.Replication:
    """See `fmnist_jax.run`."""
    checked = config.parse(asked)
    sharding.keep_programs()
    sharding.configure(checked.platform)
    directory = Path(workdir or Path("runs") / time.strftime("%Y%m%d-%H%M%S")).expanduser()
    console = Console()
    if workdir is None:
        terminal.say(console, f"in {directory}; give it as workdir to go on there")
    return (paper if checked.paper.parts else study).run(checked, directory, console, retry)
