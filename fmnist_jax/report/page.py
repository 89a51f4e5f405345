"""report.html: one self-contained file from an Analysis. Here is what is written once; `assets/` draws what moves."""

import base64
import binascii
import datetime
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import jinja2
import markupsafe
from plotly import offline

from fmnist_jax import writers
from fmnist_jax.analysis import Analysis
from fmnist_jax.report import axes, findings, stills, tables, words
from fmnist_jax.report.payload import payload

ASSETS = Path(__file__).parent / "assets"
# In the order they are joined: later files use the names of earlier ones.
SCRIPTS = (
    *("data.js", "format.js", "theme.js", "state.js", "views.js"),
    *("trim.js", "table.js", "arms.js", "curves.js", "factors.js", "space.js", "runs.js", "confusion.js"),
    "main.js",
)
MAX_IMAGES = 60
# Facts that have a place of their own; every other one is listed under "how to reproduce it".
PLACED = ("command", "config", "packages", "versions", "refit")


def write(analysis: Analysis, directory: Path, name: str = "report.html") -> Path:
    """Writes the page into `directory`, whole or not at all, and figures/*.png and *.csv beside it; returns its path.

    The figures of a page of another name go to a folder of that name, so that two pages can share a directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    stills.write(analysis, directory / ("figures" if name == "report.html" else f"{path.stem}_figures"))
    writers.write_atomically(path, render(analysis))
    return path


def render(analysis: Analysis) -> str:
    """The page as HTML. Everything that a user wrote is escaped; nothing is fetched from the network."""
    return template("page.html.j2").render(context(analysis))


def template(name: str) -> jinja2.Template:
    """A template of `assets/`, which escapes whatever is put into it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def context(analysis: Analysis) -> dict:
    """What the template is filled with."""
    data = payload(analysis)
    ids = _plots(analysis, data)
    study = analysis.study
    order = [study.factors[i].key for i in data["factorOrder"]]
    found = {
        "name": study.name,
        "question": study.question,
        "kicker": "A study of hyper-parameters" if study.factors else "A study",
        "facts": _head_facts(analysis),
        "banners": _banners(analysis),
        "claims": findings.claims(study, analysis.verdicts),
        "tally": findings.tally(analysis.verdicts),
        "best": findings.best(analysis),
        "metrics": data["metrics"],
        "factors": study.factors,
        "order": order,
        "space": _space(order, data),
        "quantities": (quantities := _quantities(data)),
        "default_quantity": next((q for q in quantities if study.metric.endswith(q)), ""),
        "costs": [(c, words.TIMES.get(c, c)) for c in data["costs"]],
        **tables.importance(analysis),
        **tables.correlations(analysis),
        **tables.references(analysis),
        **tables.failed(study),
        **_wrong(study),
        "notes": analysis.notes,
        **reproduce(study.facts),
        "ids": ids,
        "data": embedded(data),
        "style": markupsafe.Markup(asset("page.css")),
        **scripts(SCRIPTS, plotly=True),
    }
    return found | {"sections": _sections(found)}


def scripts(names: Sequence[str], plotly: bool) -> dict[str, markupsafe.Markup]:
    """What the templates take for scripts, and the policy by which a browser runs these, by their hashes, and no other.

    Plotly compiles what it draws with WebGL, which a policy calls eval; a style may be anywhere, since it does nothing.
    """
    early, plot = asset("early.js"), offline.get_plotlyjs() if plotly else ""
    script = f'(() => {{\n"use strict";\n{"".join(map(asset, names))}}})();\n'
    sources = [f"'sha256-{_digest(text)}'" for text in (early, plot, script) if text]
    rules = {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "script-src": " ".join([*sources, *(["'unsafe-eval'"] if plotly else [])]),
        "img-src": "data: blob:",
        "worker-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    found = {"early": early, "plotly": plot, "script": script, "policy": "; ".join(map(" ".join, rules.items()))}
    return {name: markupsafe.Markup(text) for name, text in found.items()}


def _digest(script: str) -> str:
    """Of what a browser sees of a script: it reads every end of a line as one character."""
    seen = script.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(seen.encode()).digest()).decode()


def asset(name: str) -> str:
    """The text of a style sheet or script."""
    return (ASSETS / name).read_text(encoding="utf-8")


def embedded(data: dict) -> markupsafe.Markup:
    """JSON that cannot end the script element it lies in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return markupsafe.Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _plots(analysis: Analysis, data: dict) -> set[str]:
    """The ids of the plots that this study has something for."""
    study, measured = analysis.study, bool(len(analysis.summary)) and bool(data["metrics"])
    numbers = len(axes.ranked(analysis)) if measured else 0
    return {
        name
        for name, there in {
            "dots": numbers > 1,
            "curves": bool(data["curves"]["metrics"]),
            "slices": measured and study.factors,
            "heat": measured and len(study.factors) > 1,
            "parallel": measured and study.factors,
            "space": measured and study.factors,
            "histogram": measured and len(study.runs) > 2,
            "time": measured and data["costs"] and len(study.arms) > 1,
            "confusion": bool(data["confusions"]),
        }.items()
        if there
    }


def _sections(found: dict) -> list[tuple[str, str]]:
    """(id, title) for the table of contents, in the page's order."""
    ids = found["ids"]
    every = (
        ("answer", "The answer", found["claims"] or found["best"]),
        ("arms", "Summary", True),
        ("dots", "Arms compared", "dots" in ids),
        ("references", "Reference arms", found["references"]),
        ("curves", "Learning curves", "curves" in ids),
        ("slices", "Slices", "slices" in ids),
        ("heat", "Two factors", "heat" in ids),
        ("parallel", "Parallel coordinates", "parallel" in ids),
        ("space", "In space", "space" in ids),
        ("histogram", "Histogram of runs", "histogram" in ids),
        ("time", "What it costs", "time" in ids),
        ("importance", "Factor importance", found["importance"]),
        ("correlations", "Correlations", found["correlations"]),
        ("confusion", "Confusions", "confusion" in ids),
        ("wrong", "Images most often wrong", found["wrong"]),
        ("failed", "Diverged and failed", found["failures"] or found["diverged"]),
        ("notes", "How to read these numbers", found["notes"]),
        ("reproduce", "How to reproduce it", found["command"] or found["environment"] or found["config"]),
    )
    return [(name, title) for name, title, there in every if there]


def _space(order: list[str], data: dict) -> list[str]:
    """Three axes and a colour for the scatter in space: the factors that explain most, and metrics for the rest."""
    metrics = [f"metric:{m['name']}" for m in data["metrics"]]
    if not metrics:
        return [""] * 4
    axes_ = [f"factor:{key}" for key in order[:3]] + metrics
    return [*(axes_ * 3)[:3], metrics[0]]


def _quantities(data: dict) -> list[str]:
    """What learning curves are of, without the split: accuracy, loss."""
    return list(dict.fromkeys(name.partition("_")[2] or name for name in data["curves"]["metrics"]))


def _head_facts(analysis: Analysis) -> list[tuple[str, str]]:
    study = analysis.study
    facts = study.facts
    rows = [
        ("arms", f"{len(study.arms):,}"),
        ("runs", f"{len(study.runs):,}"),
        ("seeds", f"{study.runs['seed'].nunique():,}"),
        ("folds", f"{study.runs['fold'].nunique():,}" if study.runs["fold"].nunique() > 1 else ""),
        ("data", _short(facts.get("dataset", ""))),
        ("machine", _short(facts.get("machine", ""))),
        ("wall time", words.seconds(facts["wall_seconds"]) if _number(facts.get("wall_seconds")) else ""),
        ("written", date(facts.get("written", ""))),
    ]
    return [(label, value) for label, value in rows if value]


def _short(value) -> str:
    return str(value) if len(str(value)) <= 60 else str(value)[:59] + "…"


def _number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0


def date(value) -> str:
    """An ISO time without its seconds; now where there is none, since that is when the page was made. UTC says so."""
    try:
        return datetime.datetime.fromisoformat(str(value)).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return str(value) or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _banners(analysis: Analysis) -> list[tuple[str, str, str]]:
    """(kind, title, text) of what a reader must know first."""
    study, found = analysis.study, []
    if study.synthetic:
        found.append(("warn", "Synthetic data.", "These images are drawn, not photographed: nothing here is a result."))
    if study.unfinished:
        planned = len(study.arms) * study.facts.get("seeds", 0) * study.facts.get("folds", 1)
        total = max(planned, study.unfinished, 0 if planned else len(study.runs) + study.unfinished)
        text = f"{study.unfinished:,} of {words.plural(total, 'run')} not finished: this page is a snapshot."
        found.append(("info", "Unfinished.", text))
    if study.failures:
        runs = sum(tables.run_count(failure) for failure in study.failures)
        text = f"{words.plural(len(study.failures), 'group')}, {words.plural(runs, 'run')}; the errors are below."
        found.append(("error", "Failed:", text))
    diverged = int(study.runs["diverged_at"].notna().sum())
    if diverged:
        text = f"{diverged:,} of {words.plural(len(study.runs), 'run')}; they are in no mean."
        found.append(("info", "Diverged:", text))
    if not len(study.runs):
        found.append(("info", "No run has a result yet.", ""))
    return found


def _wrong(study) -> dict:
    """The gallery: images whose base64 is what it says, their labels in words."""
    shown = [image for image in study.wrong if _is_base64(image["png"])][:MAX_IMAGES]
    return {
        "wrong": [
            {
                "index": image["index"],
                "png": image["png"],
                "label": _class(study, image["label"]),
                "predicted": _class(study, image["predicted"]),
                "share": f"{100 * image['share']:.0f}%",
            }
            for image in shown
        ],
        "wrong_note": "" if len(shown) == len(study.wrong) else f" The first {len(shown)} of {len(study.wrong)}.",
    }


def _is_base64(text: str) -> bool:
    try:
        return base64.b64decode(text, validate=True) is not None
    except (binascii.Error, ValueError):
        return False


def _class(study, label) -> str:
    known = isinstance(label, int) and 0 <= label < len(study.class_names)
    return study.class_names[label] if known else str(label)


def reproduce(facts: dict) -> dict:
    """Command, environment and config, from `Study.facts` as `reading.read` makes them; any other fact is listed."""
    packages = {**facts.get("packages", {}), **facts.get("versions", {})}
    rows = [(_named(key), _fact(key, value)) for key, value in facts.items() if key not in PLACED]
    if packages:
        rows.append(("packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    if refit := facts.get("refit"):
        rows.append(
            ("refit on all of the training set", ", ".join(f"{_named(k)} {_fact(k, v)}" for k, v in refit.items()))
        )
    config = facts.get("config", "")
    if isinstance(config, dict):
        config = "\n".join(f"{key} = {json.dumps(value)}" for key, value in config.items())
    command = words.command(facts["command"]) if facts.get("command") else ""
    return {"command": command, "environment": rows, "config": config}


def _named(key: str) -> str:
    return key.replace("_seconds", " time").replace("_", " ")


def _fact(key: str, value) -> str:
    if key == "written":
        return date(value)
    if key.endswith("_seconds") and _number(value):
        return words.seconds(value)
    if isinstance(value, float):
        return words.number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value)
