"""docs/replication.md: all papers' results, kept small, and the document made of them.

    python -m fmnist_jax.replication --keep=runs/acosta    # a paper's results, from its workdir to docs/replication
    python -m fmnist_jax.replication                       # docs/replication.md and its figures, from what is kept

What is kept of a paper: runs.parquet and curves.parquet (tidy; measures in float32), paper.json (claims, exhibits,
facts, confusions), activities.npz. The prose in docs/replication/<paper>.why.md is written by hand, all else is made.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fmnist_jax import exhibits, tidy, writers
from fmnist_jax.claims.checking import complete
from fmnist_jax.errors import RunError, UserError

ROOT = Path("docs/replication")
MEASURES = ("train_", "validation_", "test_", "alone_")
PLAIN = ("name", "question", "metric", "select_by", "unfinished", "synthetic", "train_size", "validation_size")
KEPT = (
    *("title", "reference", "question", "notes", "parts", "factors", "arms", "claims", "exhibits", "facts", "failures"),
    *("class_names", "confusions", "references", *PLAIN),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Keeps a workdir's results, or makes the document; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        for workdir in asked.keep:
            print(_keep(workdir, asked.root))
        if not asked.keep:
            print(build(asked.root))
    except (UserError, RunError, ValueError, OSError) as error:  # ValueError: of claims and exhibits
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, (UserError, ValueError)) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m fmnist_jax.replication", allow_abbrev=False)
    parser.add_argument(
        "--keep", type=Path, action="append", default=[], help="a paper's workdir, whose results to keep"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help=f"where results are kept; default: {ROOT}")
    return parser


def _keep(workdir: Path, root: Path) -> Path:
    from fmnist_jax import paper  # imports jax, which making the document does without

    return keep(paper.read(workdir), root / workdir.resolve().name)


def keep(paper: tidy.Paper, directory: Path) -> Path:
    """Writes a paper's results, so that `load` gives the same exhibits and verdicts; returns the directory."""
    study = paper.study
    directory.mkdir(parents=True, exist_ok=True)
    wanted = _curve_metrics(paper)
    curves = study.curves[[c for c in study.curves if not c.startswith(MEASURES) or c in wanted]]
    for name, frame in (("runs", study.runs), ("curves", curves.drop(columns="dataset", errors="ignore"))):
        table = _small(frame).to_parquet(index=False, compression="zstd")
        writers.write_atomically(directory / f"{name}.parquet", table)
    facts = {
        k: v for k, v in paper.facts.items() if k in ("machine", "python", "packages", "git", "wall_seconds", "command")
    }
    facts["command"] = [word for word in facts.get("command", ()) if not word.startswith("--workdir")]  # anywhere
    about = {
        **{key: getattr(study, key) for key in PLAIN},
        "factors": [dataclasses.asdict(factor) for factor in study.factors],
        "arms": list(study.arms),
        "claims": list(study.claims),
        "facts": {**facts, "folds": study.facts.get("folds", 1)},
        "failures": list(study.failures),
        "class_names": list(study.class_names),
        "confusions": {arm: matrix.tolist() for arm, matrix in study.confusions.items() if _asked(paper, "confusion")},
        "references": list(study.references),
        "title": paper.title,
        "reference": paper.reference,
        "notes": list(paper.notes),
        "exhibits": list(paper.exhibits),
        "parts": [list(part) for part in paper.parts],
    }
    (directory / "activities.npz").unlink(missing_ok=True)
    if study.activities and _asked(paper, "correlations"):
        flat = {f"{arm}/{layer}": m for arm, layers in study.activities.items() for layer, m in layers.items()}
        arrays = {k: np.asarray(m, np.float16) for k, m in flat.items()}
        writers.write_npz(directory / "activities.npz", **arrays)
    writers.write_json(directory / "paper.json", about)  # last: with it all of them are there
    for left in directory.glob("*.png"):  # of exhibits that may have other names now; `build` makes them
        left.unlink()
    return directory


def _asked(paper: tidy.Paper, kind: str) -> bool:
    """Whether an exhibit needs it; claims about classes need confusions too."""
    classes = ("worst_class", "best_class", "most_taken_for", "confuses_more")
    of_claim = kind == "confusion" and any(claim["kind"] in classes for claim in paper.study.claims)
    return of_claim or any(exhibit["kind"] == kind for exhibit in paper.exhibits)


def _curve_metrics(paper: tidy.Paper) -> set[str]:
    """The metrics that some exhibit or claim may read from the curves."""
    text = repr([paper.exhibits, [complete(claim) for claim in paper.study.claims]])
    return {c for c in paper.study.curves if c.startswith(MEASURES) and c in text}


def _small(frame: pd.DataFrame) -> pd.DataFrame:
    """Measures in float32, words as categories: a tenth of the bytes."""
    changes = {c: "float32" for c in frame if c.startswith(MEASURES) and pd.api.types.is_float_dtype(frame[c])}
    mixed = {c: frame[c].map(lambda v: v if isinstance(v, str) else repr(v)) for c in frame if _is_mixed(frame[c])}
    return frame.assign(**mixed).astype(changes)


def _is_mixed(column: pd.Series) -> bool:
    """Numbers among words, which Parquet has no type for: a factor such as filters 32, or "32, 32"."""
    return column.dtype == object and len({isinstance(value, str) for value in column}) > 1


def load(directory: Path) -> tidy.Paper:
    """A paper from what `keep` wrote.

    Raises:
      UserError: nothing is kept there, or it lacks a key.
    """
    if not (directory / "paper.json").exists():
        raise UserError(f"{directory}: no paper.json; python -m fmnist_jax.replication --keep=WORKDIR writes it")
    about = writers.read_json(directory / "paper.json")
    if lacking := [key for key in KEPT if key not in about]:
        raise UserError(f"{directory / 'paper.json'}: has no {lacking[0]!r}; --keep=WORKDIR writes it anew")
    runs, curves = (pd.read_parquet(directory / f"{name}.parquet") for name in ("runs", "curves"))
    activities: dict[str, dict[str, np.ndarray]] = {}
    if (directory / "activities.npz").exists():
        for key, matrix in writers.read_npz(directory / "activities.npz").items():
            arm, _, layer = key.rpartition("/")
            activities.setdefault(arm, {})[layer] = matrix.astype(np.float64)
    factors = [tidy.Factor(**{**factor, "values": tuple(factor["values"])}) for factor in about["factors"]]
    for factor in factors:  # Parquet kept a mixed column as words
        words = {repr(level): level for level in factor.values if not isinstance(level, str)}  # noqa: PD011 (no pandas)
        if words and not factor.numeric:
            runs[factor.key] = runs[factor.key].astype(object).map(lambda v, words=words: words.get(v, v))
    study = tidy.Study(
        **{key: about[key] for key in PLAIN},
        factors=tuple(factors),
        runs=runs,
        curves=curves,
        arms=tuple(about["arms"]),
        claims=tuple(about["claims"]),
        facts=about["facts"],
        failures=tuple(about["failures"]),
        class_names=tuple(about["class_names"]),
        confusions={arm: np.array(matrix) for arm, matrix in about["confusions"].items()},
        references=tuple(about["references"]),
        activities=activities,
    )
    return tidy.Paper(
        name=directory.name,
        title=about["title"],
        reference=about["reference"],
        question=about["question"],
        notes=tuple(about["notes"]),
        study=study,
        exhibits=tuple(about["exhibits"]),
        parts=tuple((name, question, "") for name, question, _ in about["parts"]),
        facts=about["facts"],
    )


def build(root: Path) -> Path:
    """Makes `root`.md and the figures in `root`/<paper>/ from what is kept in `root`; returns the document.

    Raises:
      UserError: nothing is kept there.
    """
    from fmnist_jax.exhibits import Figure
    from fmnist_jax.report import drawings
    from fmnist_jax.report import paper as page
    from fmnist_jax.report import replication as chapter

    kept = sorted(path.parent for path in root.glob("*/paper.json"))
    if not kept:
        raise UserError(f"{root}: nothing is kept there; python -m fmnist_jax.replication --keep=WORKDIR does so")
    chapters, rows = [], []
    for directory in kept:
        paper = load(directory)
        found = page.filled(paper)
        for one in found.made:
            if isinstance(one, Figure):
                path = directory / f"{exhibits.slug(one.exhibit['name'])}.png"
                writers.write_atomically(path, drawings.png(one, drawings.LIGHT))
        text = chapter.section(paper, f"{root.name}/{directory.name}")
        why = root / f"{directory.name}.why.md"
        chapters.append(text + (f"\n{why.read_text().strip()}\n" if why.exists() else ""))
        rows.append(chapter.row(paper, found))
    head = root / "head.md"
    opening = head.read_text().strip() if head.exists() else "# The studies, replicated"
    document = root.with_suffix(".md")
    writers.write_atomically(document, "\n\n".join([opening, "\n".join([*chapter.HEAD, *rows]), *chapters]))
    return document


if __name__ == "__main__":
    sys.exit(main())
