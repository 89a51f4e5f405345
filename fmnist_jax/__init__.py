"""Controlled hyper-parameter studies of small image classifiers: repeated runs as one JAX program, with error bars."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fmnist_jax.paper import Replication
    from fmnist_jax.results import Results


def run(config, workdir: str | None = None, *, retry: bool = False) -> "Results | Replication":
    """Runs a study from Python or a notebook: trains what is not done yet, and returns the results.

    Of a paper, whose config has parts, `paper.Replication`: the results of each, and all together.

    Args:
      config: from `fmnist_jax.config.default()`, or a config file's `get_config()`.
      workdir: where results go and where a study goes on; by default a new directory below runs/.
      retry: train again the groups that failed.

    Raises:
      errors.UserError: the config, in one line that names the key and the remedy.
      errors.RunError: groups failed; the others' results are in the workdir.
    """
    from fmnist_jax import notebook  # the package itself stays light: reports are made where there is no JAX

    return notebook.run(config, workdir, retry)
