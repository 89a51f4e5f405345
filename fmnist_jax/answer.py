"""A study's answer in the terminal, and as summary.json."""

import math
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fmnist_jax import tidy
from fmnist_jax.results import Results
from fmnist_jax.terminal import duration

SYNTHETIC = "SYNTHETIC DATA: drawn garments, not a real data set"
ARMS_SHOWN = 40
FACTOR_COLUMNS = 4  # more than so many would not fit; then the arm has its name
COLOURS = {"replicated": "green", "not replicated": "red", "inconclusive": "yellow"}


def summary(results: Results) -> dict:
    """What summary.json holds: every arm's statistics of every metric, the best arm, verdicts, times."""
    study, analysis = results.study, results.analysis
    table = analysis.summary.astype(object).where(analysis.summary.notna(), None)
    metrics: dict[str, dict] = {}
    for row in table.to_dict("records"):
        metrics.setdefault(row.pop("arm"), {})[row.pop("metric")] = row
    return {
        "name": study.name,
        "question": study.question,
        "dataset": study.facts.get("dataset"),
        "synthetic": study.synthetic,
        "metric": study.metric,
        "runs": len(study.runs),
        "unfinished": study.unfinished,
        "arms": metrics,
        "best": analysis.best,
        "verdicts": [{"name": v.name, "verdict": v.verdict, "reason": v.reason} for v in analysis.verdicts],
        "diverged": _diverged(study),
        "failures": [failure["group"] for failure in study.failures],
        **{k: study.facts.get(k) for k in ("wall_seconds", "compile_seconds", "images_per_second", "mode", "devices")},
        **({"refit": study.facts["refit"]} if "refit" in study.facts else {}),
        **({"references": analysis.references.to_dict("records")} if len(analysis.references) else {}),
    }


def _diverged(study: tidy.Study) -> list[dict]:
    rows = study.runs[study.runs["diverged_at"].notna()]
    return rows[["arm", "seed", "fold", "diverged_at"]].to_dict("records")


def show(results: Results, directory: Path, console: Console) -> None:
    """Prints the verdicts, the arms, and how long it took."""
    study = results.study
    if study.question:
        console.print(f"\n[bold]{escape(study.question)}[/bold]")
    if len(study.arms) == 1:
        console.print(one_arm(results))
    else:
        console.print(arms_table(results))
    if len(results.analysis.references):
        console.print(reference_table(results))
    if results.verdicts:
        console.print(verdict_table(results))
    for line in footer(results):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"in {directory}", markup=False, highlight=False, soft_wrap=True)


def _title(study: tidy.Study) -> str:
    return escape(study.name) + (f"  ({SYNTHETIC})" if study.synthetic else "")


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(
        title=title, title_style="bold", header_style="bold", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
    )
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=True, overflow="ellipsis")
    return table


def one_arm(results: Results) -> Table:
    """Mean, sd, 95% interval, n, best and worst (its seed) of every split and metric; fits 80 columns."""
    study, rows = results.study, results.analysis.summary.set_index("metric")
    runs = study.runs[study.runs["diverged_at"].isna()]
    table = _table(_title(study), ("", "mean", "sd", "95% interval", "n", "best", "worst"))
    for metric, heading in (("accuracy", "accuracy, %"), ("loss", "loss")):
        table.add_row(f"[italic]{heading}[/]")
        for split in ("train", "validation", "test"):
            name = f"{split}_{metric}"
            if name not in rows.index or not rows.loc[name, "n"]:
                continue
            row, ranked = rows.loc[name], runs.sort_values(name, ascending=metric == "loss")
            table.add_row(
                f"  {split}",
                *_cells(row, name),
                *(f"{number(run[name], name)} ({_who(run, runs)})" for run in (ranked.iloc[0], ranked.iloc[-1])),
                style="bold" if name == study.metric else None,
            )
        if metric == "accuracy":
            table.add_section()
    return table


def _who(run, runs) -> str:
    return f"{run['seed']}/{run['fold']}" if len(runs["fold"].unique()) > 1 else str(run["seed"])


def arms_table(results: Results) -> Table:
    """Every arm's mean, spread and interval, best first, and which are not distinguishable from the best."""
    study, analysis = results.study, results.analysis
    second = study.select_by if study.select_by != study.metric else None
    factors = study.factors if len(study.factors) <= FACTOR_COLUMNS else ()
    names = [f.label for f in factors] or ["arm"]
    title = f"{escape(study.name)}: {_words(study.metric)}" + ("\n" + SYNTHETIC if study.synthetic else "")
    table = _table(title, (*names, "mean", "sd", "95% interval", "n", *([second.split("_")[0]] if second else []), ""))
    for column in table.columns[: len(names)]:
        column.no_wrap, column.overflow = False, "fold"
    by_metric = {m: analysis.summary[analysis.summary["metric"] == m].set_index("arm") for m in (study.metric, second)}
    values = study.runs.drop_duplicates("arm").set_index("arm")[[f.key for f in factors]]
    near = set(analysis.near)
    ranked = by_metric[study.metric].sort_values("mean", ascending=tidy.lower_is_better(study.metric))
    ranked = ranked[ranked.index.isin(values.index)]  # others have no run to show: failed, or still to come
    for arm, row in ranked.head(ARMS_SHOWN).iterrows():
        first = [f"{v:g}" if isinstance(v, float) else str(v) for v in values.loc[arm]] if factors else [str(arm)]
        table.add_row(
            *map(escape, first),
            *_cells(row, study.metric),
            *([number(by_metric[second].loc[arm, "mean"], second)] if second else []),
            "best" if arm == analysis.best else "≈ best" if arm in near else "",
            style="bold" if arm == analysis.best else None,
        )
    if (more := len(ranked) - ARMS_SHOWN) > 0:
        table.caption = f"and {more:,} more arms, in summary.json and on the page"
    return table


def reference_table(results: Results) -> Table:
    """The best arm, and under it the classical classifiers on the same images."""
    rows = results.analysis.references
    table = _table("reference arms: scikit-learn, on the same split", ("", "mean", "sd", "95% interval", "n", "images"))
    table.columns[0].header = _words(rows["metric"].iloc[0])
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    for _, row in rows.iterrows():
        name = escape(row["name"]) + ("" if row["converged"] else " (not converged)")
        cells = _cells(row, row["metric"])
        if row["deterministic"]:
            cells = (cells[0], "–", "same each time", "1")
        style = "bold" if row["of_study"] else None
        table.add_row(name, *cells, f"{row['train_images']:,}", style=style, end_section=bool(row["of_study"]))
    return table


def _words(metric: str) -> str:
    return metric.replace("_", " ") + (", %" if "accuracy" in metric else "")


def _cells(row, metric: str) -> tuple[str, str, str, str]:
    interval = f"{number(row['low'], metric)} – {number(row['high'], metric)}" if row["n"] > 1 else "–"
    return number(row["mean"], metric), number(row["sd"], metric), interval, str(int(row["n"]))


def verdict_table(results: Results) -> Table:
    """A row a claim: what was tested, what came of it, and why."""
    table = Table(title="claims", title_style="bold", show_header=False, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for verdict in results.verdicts:
        colour = COLOURS.get(verdict.verdict, "dim")
        words = f"[{colour}]{verdict.verdict}[/{colour}]"
        table.add_row(escape(verdict.name), words, f"{escape(verdict.statement)}\n[dim]{escape(verdict.reason)}[/dim]")
    return table


def footer(results: Results) -> list[str]:
    """What is marked, what is missing, wall and compile time."""
    study, facts, lines = results.study, results.study.facts, []
    if results.analysis.best is not None and len(study.arms) > 1:
        chosen = study.select_by.replace("_", " ")
        lines.append(f"best: by mean {chosen}; ≈ best: its {study.metric.replace('_', ' ')} is not distinguishable")
    if refit := facts.get("refit"):
        low, high, n = (refit[f"test_accuracy_{k}"] for k in ("low", "high", "n"))
        accuracy = f"{100 * refit['test_accuracy_mean']:.2f}%"
        interval = f" (95% interval {100 * low:.2f} to {100 * high:.2f}, n = {n})" if n > 1 else ""
        lines.append(f"{refit['arm']}, trained on all of the training set: test accuracy {accuracy}{interval}")
    if diverged := _diverged(study):
        shown = ", ".join(f"{_name(row, study)} at step {int(row['diverged_at']):,}" for row in diverged[:8])
        more = f" and {len(diverged) - 8} more" if len(diverged) > 8 else ""
        lines.append(f"diverged, and not in the table: {shown}{more}")
    if len(alone := _alone(results)):
        first, last = (f"{alone[arm]:.3g} s ({arm})" for arm in (alone.idxmin(), alone.idxmax()))
        lines.append(f"training a run alone takes {first}" + (f" to {last}" if len(alone) > 1 else ""))
    lines += [f"reference {f['name']}: not fitted: {f['error']}" for f in study.references if f.get("error")]
    lines += [f"failed: {f['group']} ({len(f['runs'])} runs): {f['error']}" for f in study.failures]
    if study.unfinished:
        lines.append(f"{study.unfinished} runs are not finished: these are the numbers so far")
    if "mode" in facts:
        parameters = sorted(set(study.runs["parameters"].astype(int)))
        span = f"{parameters[0]:,}" + (f" to {parameters[-1]:,}" if len(parameters) > 1 else "")
        lines.append(
            f"{len(study.runs)} runs of {span} parameters in {facts['groups']} group{'s' * (facts['groups'] > 1)}, "
            f"{facts['mode']} over {facts['devices']} device{'s' * (facts['devices'] > 1)}"
        )
        rate = facts.get("images_per_second")
        lines.append(
            f"wall {duration(facts['wall_seconds'])}, of which compiling {duration(facts['compile_seconds'])}"
            + (f"; {rate:,.0f} training images/s" if rate else "")
        )
    return lines


def _alone(results: Results) -> pd.Series:
    """Arm -> mean seconds of a run timed alone, of those that were."""
    table = results.analysis.summary
    return table[table["metric"] == "alone_seconds"].set_index("arm")["mean"].astype(float).dropna()


def _name(row: dict, study: tidy.Study) -> str:
    fold = f", fold {row['fold']}" if len(study.runs["fold"].unique()) > 1 else ""
    return (f"{row['arm']}, " if len(study.arms) > 1 else "") + f"seed {row['seed']}{fold}"


def number(value, metric: str) -> str:
    """An accuracy in percent, anything else with four digits."""
    if value is None or math.isnan(value):
        return "–"
    return f"{100 * value:.2f}" if "accuracy" in metric else f"{value:.4f}"
