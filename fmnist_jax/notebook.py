"""`fmnist_jax.run`: a study from Python, as the command runs it."""

import time
from pathlib import Path

from rich.console import Console

from fmnist_jax import config, paper, program_cache, results, sharding, share, store, study, terminal


def run(asked, workdir: str | None, retry: bool) -> results.Results | paper.Replication:
    """See `fmnist_jax.run`."""
    checked = config.parse(asked)
    sharding.keep_programs()
    program_cache.write_whole()
    sharding.configure(checked.platform)
    place = store.opened(workdir or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))
    console = Console()
    if workdir is None:
        terminal.say(console, f"in {place.directory}; give it as workdir to go on there")
    own = share.Share(claim=store.in_bucket(workdir or ""))
    return (paper if checked.paper.parts else study).run(checked, place, console, retry, own)
