"""A paper's page, files and chapter: whole, escaped, the same numbers everywhere."""

import dataclasses
import itertools
import json
import re

import made_up
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from fmnist_jax import claims, exhibits, tidy
from fmnist_jax.exhibits import compute
from fmnist_jax.report import drawings, paper, replication
from fmnist_jax.report import exhibits as rendered


@pytest.fixture(scope="module")
def made() -> tidy.Paper:
    grid = {"optimizer.learning_rate": [1e-3, 1e-2, 1e-1, 1.0], "model.filters": [8, 16], "op": ["sgd", "adam"]}

    def effect(values):
        return (
            0.8 - 0.02 * abs(np.log10(values["optimizer.learning_rate"]) + 2) + 0.03 * (values["model.filters"] == 16)
        )

    study = made_up.study(grid, effect)
    counts = np.eye(10, dtype=int) * 90 + 1
    counts[6, 2] = 31  # of 130: nothing that is the same the other way round
    confusions = {study.arms[0]: counts}
    activities = {study.arms[0]: {"logits": np.corrcoef(np.random.default_rng(0).normal(size=(10, 12)))}}
    columns = [
        exhibits.column("Accuracy", "test_accuracy", unit="percent"),
        exhibits.column("Loss", "test_loss"),
    ]
    rows = [
        exhibits.row([f, op], {"filters": f, "op": op}, paper={"Accuracy": 81.25, "Loss": "-" if op == "sgd" else 0.2})
        for f in (8, 16, 32)
        for op in ("sgd", "adam")
    ]
    factors = ["learning_rate", "filters", "op"]
    line, panel = exhibits.line, exhibits.panel
    titled = {"source": "Table 1", "labels": ["filters", "op"]}
    panels = [panel("Accuracy", "validation_accuracy"), panel("Loss", ["train_loss", "validation_loss"])]
    paper_points = [line("ours", paper=[[0.01, 80.0]])]
    arm = {"arm": study.arms[0]}
    shown = (
        exhibits.table("Table 1", "A <b>table</b> | with pipes", rows=rows, columns=columns, **titled),
        exhibits.curves("curves", "C", lines=[line("8", {"filters": 8}), line("16", {"filters": 16})], panels=panels),
        exhibits.against("against", "Rate", factor="learning_rate", log=True, lines=paper_points),
        exhibits.heatmap("heat", "Two", factors=factors[:2]),
        exhibits.scatter3d("space", "Three", factors=factors),
        exhibits.histograms("bars", "Bars", factors=factors),
        exhibits.confusion("confusion", "Confused", where=arm),
        exhibits.correlations("activity", "Alike", arms=[line("own", arm)]),
        exhibits.curves("not_run", "Nothing", lines=[line("x", {"filters": 99})], panels=[panel("A", "train_loss")]),
    )
    said = (
        claims.greater(
            "C1", {"filters": 16}, {"filters": 8}, quote="More <i>filters</i>", source="p. 2", paper="3 pts"
        ),
        claims.less("C2", {"filters": 16}, {"filters": 8}),
        claims.greater("C3", {"filters": 99}, {"filters": 8}),
    )
    study = dataclasses.replace(study, claims=said, confusions=confusions, activities=activities)
    return tidy.Paper(
        "made", "A <script>alert(1)</script> study", "Nobody, 2020", "Why?", ("Shorter than the paper's.",), study,
        shown, (("main", "All?", "main/report.html"),), {"command": "python -m x", "wall_seconds": 90.0},
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(made, tmp_path_factory):
    directory = tmp_path_factory.mktemp("paper")
    return directory, paper.write(made, directory).read_text()


def test_every_exhibit_is_a_file_and_a_part_of_the_page(made, written):
    directory, page = written
    names = {exhibits.slug(e["name"]) for e in made.exhibits}
    files = {path.name for path in (directory / "exhibits").iterdir()}
    assert files == {f"{n}.csv" for n in names} | {f"{n}.png" for n in names - {"table_1"}} | {"table_1.md"}
    assert all(f'id="exhibit-{name}"' in page for name in names)
    assert (directory / "verdicts.csv").exists()
    assert "1 of 3 claims replicated, 1 not, 1 not judged" in page


def test_the_page_is_one_file_and_escapes_what_others_wrote(written):
    _, page = written
    assert "Content-Security-Policy" in page
    assert "<script>alert" not in page
    assert "More <i>" not in page
    assert "<b>table</b>" not in page
    own = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(https?:)?//', own)
    assert len(page) < 6_000_000


def test_the_same_numbers_everywhere(made, written):
    directory, page = written
    table = compute(made.study, made.exhibits[0])
    cell = table.cell(0, "Accuracy")
    mean, half = f"{100 * cell['mean']:.2f}", f"± {50 * (cell['high'] - cell['low']):.2f}"
    chapter = replication.section(made, "images")
    for text in (page, chapter, (directory / "exhibits" / "table_1.md").read_text()):
        assert mean in text
        assert half in text
    kept = json.loads((directory / "replication.json").read_text())
    assert kept["exhibits"][0]["cells"][0]["mean"] == pytest.approx(cell["mean"])
    assert [v["verdict"] for v in kept["verdicts"]] == ["replicated", "not replicated", "not judged"]
    csv = pd.read_csv(directory / "exhibits" / "table_1.csv")
    assert csv.loc[0, ["filters", "op", "column"]].tolist() == [8, "sgd", "Accuracy"]


def test_tables_in_markdown_are_as_wide_as_their_head(made):
    text = rendered.markdown(compute(made.study, made.exhibits[0]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count(" | ") for row in rows} == {3}
    assert rows[0] == "| filters | op | Accuracy (%) | Loss |"
    assert rows[3].startswith("|  | adam | ")  # the label of the row above is not repeated
    assert "*not run*" in rows[-1]
    assert "Not run: no arm has filters=32" in text


def test_labels_span_their_rows(made):
    page = rendered.html(compute(made.study, made.exhibits[0]))
    assert page.count('rowspan="2"') == 3
    assert page.count("<tr>") == 7


def test_the_chapter_links_its_figures_and_tells_the_verdicts(made):
    chapter = replication.section(made, "images/made/")
    assert chapter.startswith("## made: A &#60;script&#62;")
    assert "](images/made/heat.png)" in chapter
    assert "✅ replicated" in chapter
    assert "❌ not replicated" in chapter
    assert "1 min 30 s" in chapter


def of_kind(made, kind):
    """The first exhibit of a kind, filled."""
    return compute(made.study, next(one for one in made.exhibits if one["kind"] == kind))


@pytest.mark.parametrize("look", [drawings.LIGHT, drawings.DARK], ids=["light", "dark"])
def test_every_figure_is_drawn_for_light_and_dark(made, look):
    assert {exhibit["kind"] for exhibit in made.exhibits[1:]} == set(drawings.OF_KIND)
    for exhibit in made.exhibits[1:]:
        canvas = drawings.draw(compute(made.study, exhibit), look)
        assert canvas.get_size_inches()[0] == drawings.WIDTH
        assert to_hex(canvas.get_facecolor()) == look.paper
        assert {to_hex(ax.get_facecolor()) for ax in canvas.axes} <= {look.paper}
        inks = {to_hex(text.get_color()) for text in canvas.findobj(Text) if text.get_text()}
        assert inks & {look.ink, look.muted}
        assert look.paper not in inks


def test_a_figure_without_data_says_so(made):
    (text,) = drawings.draw(compute(made.study, made.exhibits[-1]), drawings.DARK).texts
    assert text.get_text().startswith("not run yet: x: no arm has filters=99")
    assert to_hex(text.get_color()) == drawings.DARK.muted


def test_lines_of_curves_are_the_means_not_smoothed(made):
    figure = of_kind(made, "curves")
    rows = figure.data.set_index(["panel", "line", "metric"]).sort_index()
    metrics = {"Accuracy": ["validation_accuracy"], "Loss": ["train_loss", "validation_loss"]}
    for ax, panel, times in zip(drawings.draw(figure).axes, metrics, (100, 1), strict=True):
        for drawn, (line, metric) in zip(ax.lines, itertools.product(("8", "16"), metrics[panel]), strict=True):
            own = rows.loc[(panel, line, metric)]
            assert own["x"].tolist() == [1, 2, 3, 4]
            np.testing.assert_allclose(drawn.get_xydata(), np.column_stack([own["x"], times * own["mean"]]))


def test_points_against_a_factor_are_ours_and_the_papers(made):
    figure = of_kind(made, "against")
    ax = drawings.draw(figure).axes[0]
    ours = figure.data[figure.data["source"] == "ours"]
    (drawn,) = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(drawn.get_xdata(), [1e-3, 1e-2, 1e-1, 1.0])
    np.testing.assert_allclose(drawn.get_ydata(), 100 * ours["mean"])
    (paper,) = [line for line in ax.lines if line.get_marker() == "D"]
    assert paper.get_xydata().tolist() == [[0.01, pytest.approx(80.0)]]
    ends = [segment[:, 1] for segment in ax.collections[0].get_segments()]
    np.testing.assert_allclose(ends, 100 * ours[["low", "high"]])


def test_a_cell_of_a_heatmap_holds_its_mean_and_half_its_interval(made):
    figure = of_kind(made, "heatmap")
    ax = drawings.draw(figure).axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0.001", "0.01", "0.1", "1"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["8", "16"]
    cell = figure.data.query("learning_rate == 0.01 and filters == 16").iloc[0]
    assert ax.images[0].get_array()[1, 1] == pytest.approx(100 * cell["mean"])
    inside = [text for text in ax.texts if np.abs(np.subtract(text.get_position(), (1, 1))).max() < 0.5]
    assert [text.get_text() for text in inside] == [
        f"{100 * cell['mean']:.2f}",
        f"± {50 * (cell['high'] - cell['low']):.2f}",
    ]


def test_points_in_space_lie_at_their_settings_and_are_coloured_by_their_means(made):
    figure = of_kind(made, "scatter3d")
    ax = drawings.draw(figure).axes[0]
    rates, filters = figure.data["learning_rate"].astype(float), figure.data["filters"]
    ops = figure.data["op"].map({"sgd": 0, "adam": 1})
    (points,) = ax.collections  # whose places before they are projected have no public name
    np.testing.assert_allclose(np.transpose(points._offsets3d), np.transpose([np.log10(rates), filters, ops]))
    np.testing.assert_allclose(points.get_array(), 100 * figure.data["mean"])
    assert [tick.get_text() for tick in ax.get_zticklabels()] == ["sgd", "adam"]
    assert len(figure.data) == 16


def test_bars_are_the_percents_of_the_results_of_a_value(made):
    figure = of_kind(made, "histograms")
    axes = drawings.draw(figure).axes
    for ax, factor, names in zip(
        axes,
        ("learning_rate", "filters", "op"),
        (["0.001", "0.01", "0.1", "1"], ["8", "16"], ["sgd", "adam"]),
        strict=True,
    ):
        assert [text.get_text() for text in ax.get_legend().get_texts()] == names
        own = figure.data[figure.data["factor"] == factor]
        for bars, (_, rows) in zip(ax.containers, own.groupby("value", sort=False), strict=True):
            assert [bar.get_height() for bar in bars] == rows["percent"].tolist()
            assert sum(bar.get_height() for bar in bars) == pytest.approx(100)
            left = np.array([bar.get_x() for bar in bars])
            right = left + [bar.get_width() for bar in bars]
            assert (left >= 100 * rows["low"]).all()
            assert (right <= 100 * rows["high"]).all()


def test_a_cell_of_a_confusion_is_the_percent_of_its_class(made):
    figure = of_kind(made, "confusion")
    ax = drawings.draw(figure).axes[0]
    written = {text.get_position(): text.get_text() for text in ax.texts}
    assert written[2, 6] == "23.8"  # 31 of 130, of class 6 and taken for 2
    assert written[6, 2] == "1.0"
    assert written[0, 0] == "91.0"
    assert ax.images[0].get_array()[6, 2] == pytest.approx(23.846**0.5, rel=1e-4)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("taken for", "true class")


def test_a_matrix_of_correlations_has_each_pair_once_and_the_diagonal(made):
    figure = of_kind(made, "correlations")
    cells = np.asarray(drawings.draw(figure).axes[0].images[0].get_array())
    pairs = figure.data
    np.testing.assert_allclose(cells[pairs["unit_a"], pairs["unit_b"]], pairs["correlation"])
    np.testing.assert_allclose(cells, made.study.activities[made.study.arms[0]]["logits"])
    assert len(pairs) == 45


def test_names_of_lines_do_not_touch():
    places = drawings._apart([0.0, 0.01, 0.02, 0.9], 0.1)
    assert np.diff(places).min() >= 0.1 - 1e-9
    assert min(places) >= 0
    assert places[-1] == 0.9


def test_a_panel_can_have_a_logarithmic_axis(made):
    curves = made.exhibits[1]
    assert drawings.draw(compute(made.study, curves)).axes[0].get_yscale() == "linear"
    panels = [panel | {"log": True} for panel in curves["panels"]]
    assert drawings.draw(compute(made.study, curves | {"panels": panels})).axes[0].get_yscale() == "log"


def test_an_axis_of_shares_ends_where_shares_do(made):
    figure = compute(made.study, made.exhibits[1])
    wide = dataclasses.replace(figure, data=figure.data.assign(low=-1.0, high=2.0))
    low, high = drawings.draw(wide).axes[0].get_ylim()
    assert (low, high) == pytest.approx((-2, 102))


def test_two_exhibits_of_one_file_are_refused(made):
    twice = dataclasses.replace(made, exhibits=(made.exhibits[3], made.exhibits[3] | {"name": "HEAT"}))
    with pytest.raises(ValueError, match="heat: is the name of two"):
        paper.filled(twice)


def test_a_paper_of_which_nothing_is_trained_has_a_page(made, tmp_path):
    study = made.study
    empty = dataclasses.replace(
        study, runs=study.runs.head(0), curves=study.curves.head(0), confusions={}, activities={}
    )
    page = paper.write(dataclasses.replace(made, study=empty), tmp_path).read_text()
    assert "3 not judged" in page
    assert "not run" in page
