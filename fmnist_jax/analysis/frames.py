"""The frames of an `Analysis`: what their columns are is written there. Empty ones have the same columns."""

import numpy as np
import pandas as pd
from scipy.stats import trim_mean

from fmnist_jax import stats, tidy
from fmnist_jax.analysis.tables import Tables, replicates_of

SUMMARY = ("arm", "metric", "n", "diverged", "mean", "sd", "median", "iqm", "low", "high")
SUMMARY += ("bca_low", "bca_high", "best", "worst")
COMPARISONS = ("arm", "n", "difference", "low", "high", "effect_size", "p", "adjusted_p", "distinguishable")
COMPARISONS += ("seeds_needed",)
CURVES = ("arm", "metric", "step", "epoch", "n", "mean", "sd", "low", "high")
IMPORTANCE = ("term", "method", "share", "df", "F", "p")
CORRELATIONS = ("factor", "metric", "n", "pearson", "low", "high", "p", "spearman", "spearman_p")
REFERENCES = ("name", "of_study", "metric", "n", "mean", "sd", "low", "high", "deterministic", "train_images")
REFERENCES += ("fit_seconds", "converged")
ALPHA = 0.05
FOREST_ARMS = 8  # with fewer arms a random forest has nothing to learn from


def summary(tables: Tables, rng: np.random.Generator) -> pd.DataFrame:
    """`Analysis.summary`; `rng` is of the bootstrap."""
    diverged = np.bincount(tables.arm[tables.diverged], minlength=len(tables.study.arms))
    frames = []
    for metric in tables.metrics:
        table = tables.of(metric)
        frame = stats.paired_differences(table, *tables.sizes)
        frame = frame.assign(arm=list(tables.study.arms), metric=metric, diverged=diverged, **_ranks(table, metric))
        frame[["bca_low", "bca_high"]] = stats.bca_means(table, rng)
        frames.append(frame[list(SUMMARY)].reset_index(names="order"))
    if not frames or not len(tables.runs):
        return pd.DataFrame(columns=list(SUMMARY))
    # Stable: the metrics of an arm stay in their order.
    return pd.concat(frames).sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


def _ranks(table: np.ndarray, metric: str) -> dict[str, np.ndarray]:
    """Median, interquartile mean, best and worst of each row of `table` [A, R]; NaN of an empty row."""
    found = {name: np.full(len(table), np.nan) for name in ("median", "iqm", "best", "worst")}
    table = np.sort(table, axis=1)  # NaN last
    counts = np.isfinite(table).sum(1)
    first, last = ("best", "worst") if tidy.lower_is_better(metric) else ("worst", "best")
    for n in np.unique(counts[counts > 0]):
        rows = counts == n
        values = table[rows, :n]
        found["median"][rows] = np.median(values, axis=1)
        found["iqm"][rows] = trim_mean(values, 0.25, axis=1)  # `stats.interquartile_mean`, of all rows at once
        found[first][rows], found[last][rows] = values[:, 0], values[:, -1]
    return found


def best(tables: Tables) -> str | None:
    """The best arm by `tables.chosen_by`; None where fewer than two arms have results."""
    means = stats.paired_differences(tables.of(tables.chosen_by))["mean"].to_numpy()
    if np.isfinite(means).sum() < 2:
        return None
    return tidy.best_arm(tables.study.runs, tables.chosen_by, tables.study.arms)


def comparisons(tables: Tables, best: str | None) -> pd.DataFrame:
    """`Analysis.comparisons`: every other arm against `best`."""
    if best is None:
        return pd.DataFrame(columns=list(COMPARISONS))
    table, arms = tables.of(tables.study.metric), tables.study.arms
    chosen = arms.index(best)
    frame = stats.paired_differences(table - table[chosen], *tables.sizes)
    frame = frame.assign(arm=list(arms)).drop(index=chosen).rename(columns={"mean": "difference"})
    compared = frame["p"].notna().sum() + 1
    frame["adjusted_p"] = stats.holm(np.minimum(1, frame["p"] * compared / 2))
    frame["distinguishable"] = frame["adjusted_p"] < ALPHA
    needed = [None] * len(frame)
    if not tables.sizes[0]:  # repeats of overlapping folds do not add up as seeds do
        alpha = ALPHA / max(1, compared * (compared - 1) / 2)  # to tell it among all pairs, as adjusted_p does
        pairs = zip(frame["sd"], frame["difference"], strict=True)
        needed = [stats.seeds_needed(sd, d, alpha=alpha) for sd, d in pairs]
    frame["seeds_needed"] = np.array([np.nan if n is None else n for n in needed], np.float64)
    return frame[list(COMPARISONS)].reset_index(drop=True)


def curves(tables: Tables) -> pd.DataFrame:
    """`Analysis.curves`."""
    curves, arms = tables.study.curves, tables.study.arms
    if not len(curves):
        return pd.DataFrame(columns=list(CURVES))
    arm = pd.Index(arms, dtype=object).get_indexer(curves["arm"].astype(object))
    replicate, pairs = replicates_of(curves)
    runs = tables.runs[tables.diverged]
    gone = tables.arm[tables.diverged] * len(pairs) + pairs.get_indexer(
        pd.MultiIndex.from_frame(runs[["seed", "fold"]])
    )
    kept = (arm >= 0) & ~np.isin(arm * len(pairs) + replicate, gone)
    steps, step = np.unique(curves["step"].to_numpy(), return_inverse=True)
    groups, first, group = np.unique((arm * len(steps) + step)[kept], return_index=True, return_inverse=True)
    epoch = curves["epoch"].to_numpy()[kept][first]
    frames = []
    for order, metric in enumerate(_curve_metrics(curves)):
        table = np.full((len(groups), len(pairs)), np.nan)
        table[group, replicate[kept]] = curves[metric].to_numpy(np.float64, na_value=np.nan)[kept]
        frame = stats.paired_differences(table, *tables.sizes)[["n", "mean", "sd", "low", "high"]]
        frame = frame.assign(arm=groups // len(steps), metric=metric, order=order, step=steps[groups % len(steps)])
        frames.append(frame.assign(epoch=epoch)[frame["n"] > 0])
    if not frames:
        return pd.DataFrame(columns=list(CURVES))
    frame = pd.concat(frames).sort_values(["arm", "order", "step"])
    return frame.assign(arm=np.array(arms, object)[frame["arm"]])[list(CURVES)].reset_index(drop=True)


def _curve_metrics(curves: pd.DataFrame) -> list[str]:
    other = (*tidy.AXES, "step", "epoch", "diverged_at", "stopped_at")
    return [m for m in curves if m not in other and pd.api.types.is_numeric_dtype(curves[m])]


def importance(tables: Tables, seed: int) -> pd.DataFrame:
    """`Analysis.importance`; `seed` is of fANOVA."""
    metric = tables.study.metric
    frame = pd.DataFrame(columns=list(IMPORTANCE))
    if metric not in tables.metrics:
        return frame
    block = "seed" if len(tables.runs["fold"].unique()) == 1 else "seed and fold"
    table = tables.runs.assign(**{block: tables.replicate})
    table = table[~tables.diverged & np.isfinite(table[metric].to_numpy(np.float64, na_value=np.nan))]
    keys = [f.key for f in tables.study.factors if f.key in table and len(table[f.key].unique()) > 1]
    if not keys or not len(table):
        return frame
    if stats.is_complete(table, [*keys, block]) and len(table[block].unique()) > 1:
        frame, method = stats.anova(table, metric, keys, block=block), "ANOVA"
    elif stats.is_complete(table, keys) and table.duplicated(keys).any():
        frame, method = stats.anova(table, metric, keys), "ANOVA"  # seeds of their own: no blocks
    elif len(keys) > 1 and len(table[keys].drop_duplicates()) >= FOREST_ARMS:
        frame, method = stats.fanova(table, metric, keys, seed), "fANOVA"
    else:
        return frame
    return frame.assign(method=method)[list(IMPORTANCE)]


def correlations(tables: Tables) -> pd.DataFrame:
    """`Analysis.correlations`: of the means of arms."""
    of_arm = tables.runs.drop_duplicates("arm").set_index("arm").reindex(list(tables.study.arms))
    means = {m: stats.paired_differences(tables.of(m))["mean"].to_numpy() for m in tables.metrics}
    rows = []
    for factor in tables.study.factors:
        if not factor.numeric or factor.key not in of_arm:
            continue
        x = of_arm[factor.key].to_numpy(np.float64, na_value=np.nan)
        for metric, y in means.items():
            linear, rank = stats.pearson(x, y), stats.spearman(x, y)
            rows.append((factor.key, metric, *linear, rank.r, rank.p))
    return pd.DataFrame(rows, columns=list(CORRELATIONS))


def references(tables: Tables, summary: pd.DataFrame, best: str | None) -> pd.DataFrame:
    """`Analysis.references`; `summary` and `best` are the study's."""
    study = tables.study
    fits = pd.DataFrame([fit for fit in study.references if not fit.get("error")])
    rows = []
    for key, own in fits.groupby(["name", "part"] if "part" in fits else ["name"], sort=False) if len(fits) else ():
        metric = "test_accuracy" if own["test_accuracy"].notna().all() else "validation_accuracy"
        name = ": ".join([*key[1:], key[0].replace("_", " ")])
        at = stats.mean_interval(own[metric].to_numpy(np.float64))
        images, seconds = own["train_images"].iloc[0], own["fit_seconds"].mean()
        rows.append((name, False, metric, *at, own["seed"].isna().all(), images, seconds, own["converged"].all()))
    arm = best or (study.arms[0] if len(study.arms) == 1 else None)
    if rows and arm:
        own = summary[(summary["arm"] == arm) & (summary["metric"] == rows[0][2]) & (summary["n"] > 0)]
        for at in own[["metric", "n", "mean", "sd", "low", "high"]].itertuples(index=False):
            rows.insert(0, (arm, True, *at, False, study.train_size, np.nan, True))
    return pd.DataFrame(rows, columns=list(REFERENCES))
