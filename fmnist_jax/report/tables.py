"""Rows of the page's fixed tables: factor importance, correlations, what diverged or failed."""

import math

from fmnist_jax import tidy
from fmnist_jax.analysis import Analysis
from fmnist_jax.report import axes, effects, words

MAX_TERMS = 30
# Terms of the analysis that are of no factor.
NOISE = ("seed", "seed and fold", "seed noise")
MAX_CORRELATIONS = 100
MAX_DIVERGED_ARMS = 100
MAX_RUNS_NAMED = 12


def importance(analysis: Analysis) -> dict:
    """The terms as the analysis orders them, each with the width of its bar."""
    table = analysis.importance.head(MAX_TERMS)
    if not len(table):
        return {"importance": [], "importance_lead": "", "importance_tested": False}
    method = str(table["method"].iloc[0])
    label = words.metric_label(analysis.study.metric)
    rows = [
        {
            "term": axes.term_label(analysis.study, row["term"]),
            "noise": row["term"] in NOISE,
            "share": f"{100 * row['share']:.1f}%" if math.isfinite(row["share"]) else words.NOTHING,
            "width": round(100 * min(1.0, max(0.0, row["share"])), 2) if math.isfinite(row["share"]) else 0,
            "df": f"{row['df']:g}" if math.isfinite(row["df"]) else words.NOTHING,
            "F": words.number(row["F"]),
            "p": words.p_value(row["p"]),
        }
        for row in table.to_dict("records")
    ]
    return {
        "importance": rows,
        "importance_tested": bool(table["F"].notna().any()),
        "importance_lead": f"How much of the variance of {label} each factor explains, by {method}.",
    }


def correlations(analysis: Analysis) -> dict:
    """Factor and metric, r with its interval, and where its bar lies between -1 and 1."""
    table = analysis.correlations
    labels = {factor.key: factor.label for factor in analysis.study.factors}
    rows = [
        {
            "factor": labels.get(row["factor"], row["factor"]),
            "metric": words.metric_label(row["metric"]),
            "n": f"{int(row['n']):,}",
            "pearson": effects.correlation(row["pearson"]),
            "sign": "minus" if row["pearson"] < 0 else "plus",
            "left": round(50 + 50 * min(0.0, _finite(row["pearson"])), 2),
            "width": round(50 * abs(_finite(row["pearson"])), 2),
            "interval": _interval(row["low"], row["high"]),
            "p": words.p_value(row["p"]),
            "spearman": effects.correlation(row["spearman"]),
            "spearman_p": words.p_value(row["spearman_p"]),
        }
        for row in table.head(MAX_CORRELATIONS).to_dict("records")
    ]
    more = len(table) - len(rows)
    return {"correlations": rows, "correlations_note": f"{more} more are in correlations.csv." if more else ""}


def _interval(low: float, high: float) -> str:
    known = words.known(low) and words.known(high)
    return f"{effects.correlation(low)} to {effects.correlation(high)}" if known else words.NOTHING


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def references(analysis: Analysis) -> dict:
    """The best arm, and under it the classical classifiers on the same images."""
    rows = [
        {
            "name": row["name"],
            "of_study": row["of_study"],
            "mean": words.number(row["mean"], True),
            "sd": words.number(row["sd"], True),
            "interval": words.interval(row["low"], row["high"], True),
            "n": f"{row['n']}, the same each time" if row["deterministic"] else f"{row['n']}",
            "images": f"{row['train_images']:,}",
            "fit": words.seconds(row["fit_seconds"]) if words.known(row["fit_seconds"]) else words.NOTHING,
            "converged": row["converged"],
        }
        for row in analysis.references.to_dict("records")
    ]
    label = words.metric_label(analysis.references["metric"].iloc[0], True) if rows else ""
    return {"references": rows, "references_label": label}


def failed(study: tidy.Study) -> dict:
    """Groups that failed with their error; arms with runs that diverged, the most first."""
    rows = study.runs[study.runs["diverged_at"].notna()]
    by_arm = sorted(rows.groupby("arm", sort=False), key=lambda pair: -len(pair[1]))
    total = len(rows)
    shown = f" The {MAX_DIVERGED_ARMS} arms with the most are listed." if len(by_arm) > MAX_DIVERGED_ARMS else ""
    folds = study.runs["fold"].nunique()
    return {
        "failures": [
            {
                "group": failure.get("group", ""),
                "arms": _listed(failure.get("arms", ())),
                "runs": f"{run_count(failure):,}",
                "error": failure.get("error", ""),
            }
            for failure in study.failures
        ],
        "diverged": [
            {"arm": arm, "count": f"{len(own)} of {(study.runs['arm'] == arm).sum()}", "runs": _runs(own, folds > 1)}
            for arm, own in by_arm[:MAX_DIVERGED_ARMS]
        ],
        "diverged_sentence": f"{words.plural(total, 'run')} of {words.plural(len(by_arm), 'arm')} diverged.{shown}",
        "folds": folds,
    }


def run_count(failure: dict) -> int:
    """How many runs a failed group had; they may be given as a number, or one by one."""
    runs = failure.get("runs") or ()
    return runs if isinstance(runs, int) else len(runs)


def _listed(values) -> str:
    values = [values] if isinstance(values, str) else list(values)
    more = f" and {len(values) - MAX_RUNS_NAMED:,} more" if len(values) > MAX_RUNS_NAMED else ""
    return ", ".join(map(str, values[:MAX_RUNS_NAMED])) + more


def _runs(rows, folds: bool) -> str:
    """'0 (1,200), 3 (900)': seed, fold where there are several, and the step."""
    named = [
        f"{row.seed:.0f}"
        + (f"/{row.fold:.0f}" if folds else "")
        + (f" ({row.diverged_at:,.0f})" if row.diverged_at else "")
        for row in rows.itertuples()
    ]
    return _listed(named)
