"""The page again, or of a sweep run elsewhere: `python -m fmnist_jax.report --workdir=runs/my_study`."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fmnist_jax import tidy
from fmnist_jax.errors import RunError, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page and its figures, and says where; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        print(_write(asked))
    except (UserError, RunError, ValueError, OSError) as error:  # ValueError: of claims and exhibits
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        return 2 if isinstance(error, (UserError, ValueError)) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m fmnist_jax.report", description=__doc__, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--workdir",
        help="a study's directory, or a paper's, or where in a bucket; it may still be running; or those of shards, "
        "A,B,C, joined in --out",
    )
    source.add_argument("--csv", type=Path, help="a sweep run elsewhere: a row a run, the first row names the columns")
    parser.add_argument(
        "--out",
        type=Path,
        help="a directory, or the page itself (.html); default: the workdir, or NAME.html of NAME.csv",
    )
    only = parser.add_argument_group("with --csv")
    only.add_argument("--metric", help="the column to compare arms by")
    only.add_argument("--factors", help="the columns that make an arm: learning_rate,optimizer,...")
    only.add_argument(
        "--seed", help="the column of the seed (seed, if there is one); else the rows of an arm are numbered"
    )
    only.add_argument("--fold", help="the column of the fold (fold, if there is one)")
    only.add_argument("--seconds", help="the column of the training time of a run, in seconds")
    only.add_argument("--lower-is-better", action="store_true", help="a smaller metric is a better one")
    return parser


def _write(asked: argparse.Namespace) -> Path | str:
    if asked.workdir and "://" in asked.workdir and "," not in asked.workdir:
        from fmnist_jax import store

        place = store.opened(asked.workdir)
        with place.lock(True), place.turn():
            made = _page(argparse.Namespace(**{**vars(asked), "workdir": str(place.directory)}))
        return made if asked.out else f"{place.bucket.url}/{made.name}, and {made}"
    return _page(asked)


def _page(asked: argparse.Namespace) -> Path:
    asked.workdir = _joined(asked) if asked.workdir else None
    study = _workdir(asked) if asked.workdir else _csv(asked)
    out = asked.out or asked.workdir or Path(f"{study.name}.html")
    directory, name = (out.parent, out.name) if out.suffix in (".html", ".htm") else (out, "report.html")
    # Only now: that a flag is wrong should be known before matplotlib has been imported.
    from fmnist_jax.analysis import analyse
    from fmnist_jax.report import page, paper

    if isinstance(study, tidy.Paper):
        return paper.write(_linked(study, asked.workdir, directory), directory, name)
    return page.write(analyse(study), directory, name)


def _joined(asked: argparse.Namespace) -> Path:
    """The workdir, or the one that those of shards are joined to."""
    paths = [Path(asked.workdir)] if Path(asked.workdir).exists() else [Path(one) for one in asked.workdir.split(",")]
    if len(paths) == 1:
        return paths[0]
    if not asked.out or asked.out.suffix in (".html", ".htm"):
        raise UserError("--out: missing; name the directory that these workdirs are to be joined in")
    from fmnist_jax import merge

    merge.into(asked.out, paths)
    return asked.out


def _linked(paper: tidy.Paper, workdir: Path, directory: Path) -> tidy.Paper:
    """`paper` with links from a page in `directory` to the pages of its parts."""
    parts = [(name, text, href and os.path.relpath(workdir / href, directory)) for name, text, href in paper.parts]
    return dataclasses.replace(paper, parts=tuple(parts))


def _workdir(asked: argparse.Namespace) -> tidy.Study | tidy.Paper:
    names = ("metric", "factors", "seed", "fold", "seconds", "lower_is_better")
    if given := [name for name in names if getattr(asked, name)]:
        raise UserError(f"--{given[0].replace('_', '-')}: goes with --csv; a workdir says so itself")
    from fmnist_jax import paper, reading  # which import jax; a CSV does without

    return (paper if paper.is_one(asked.workdir) else reading).read(asked.workdir)


def _csv(asked: argparse.Namespace):
    from fmnist_jax.report import foreign

    if not asked.metric:
        raise UserError("--metric: missing; name the column to compare arms by")
    factors = [name.strip() for name in (asked.factors or "").split(",") if name.strip()]
    return foreign.read(asked.csv, asked.metric, factors, asked.seed, asked.fold, asked.seconds, asked.lower_is_better)


if __name__ == "__main__":
    sys.exit(main())
