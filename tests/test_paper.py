"""A paper is several studies, read as one: trained in turn, resumed, extended, refused and reported as one."""

import io
import json
import signal

import pytest
from helpers import mlp
from rich.console import Console

import fmnist_jax
from fmnist_jax import claims, config, exhibits, notebook, paper, plan, reading, session, study, sweep, trial, workdir
from fmnist_jax.errors import RunError, UserError
from fmnist_jax.report import __main__ as report

RATES = {"part": "rates", "question": "Which rate?", "sweep": sweep.product({"optimizer.learning_rate": (1e-2, 1e-4)})}
WIDE = {"part": "wide", "model.dense": (12,), "seeds": 3, "sweep": sweep.product({"model.dense": ((12,), (3,))})}
CLAIMS = (
    claims.greater("fast", {"learning_rate": 1e-2}, {"learning_rate": 1e-4}, where={"part": "rates"}, quote="faster"),
    claims.greater("wide", {"dense": 12}, {"dense": 3}, where={"part": "wide"}),
)
EXHIBITS = (
    exhibits.table(
        "Table 1",
        "Rates",
        rows=[exhibits.row(str(rate), {"part": "rates", "learning_rate": rate}) for rate in (1e-2, 1e-4)],
        columns=[exhibits.column("Accuracy", "test_accuracy", unit="percent")],
        labels=["rate"],
    ),
)


def asked(*parts, **changes):
    short = {"train__duration": "8 epochs", "train__eval_every": "8 epochs", "seeds": 2}
    once = {"population__mode": "map", "population__devices": 1}  # compiled, for any number of seeds
    c = mlp(**short, **once, question="All?", paper__title="A paper", **{"claims": CLAIMS, **changes})
    c.paper.parts, c.paper.exhibits = parts or (RATES, WIDE), EXHIBITS
    return c


def go(c, directory, **options):
    """(replication, what the terminal showed)."""
    shown = io.StringIO()
    found = paper.run(config.parse(c), directory, Console(file=shown, width=100), **options)
    return found, shown.getvalue()


def made(directory):
    """What every group of every part has of its training, to see that none was trained again."""
    return {path: path.stat().st_mtime_ns for path in directory.glob("*/groups/*/done.json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("paper") / "tiny"
    return directory, *go(asked(), directory)


def test_parts_are_studies_in_their_own_directories_and_one_table_together(done):
    directory, found, shown = done
    assert list(found.parts) == ["rates", "wide"]
    together = found.study.runs
    assert together["part"].tolist() == ["rates"] * 4 + ["wide"] * 6
    assert found.study.arms[:2] == ("rates: learning_rate=0.01", "rates: learning_rate=0.0001")
    assert [factor.key for factor in found.study.factors] == ["part", "optimizer.learning_rate", "model.dense"]
    assert together["model.dense"].tolist()[:4] == [6] * 4  # what the other part varies has its value here too
    assert set(together.loc[together["part"] == "wide", "optimizer.learning_rate"]) == {1e-3}
    for name, part in found.parts.items():
        own = together[together["part"] == name]["test_accuracy"].tolist()
        assert (
            own == part.table["test_accuracy"].tolist() == reading.read(directory / name).runs["test_accuracy"].tolist()
        )
    cells = json.loads((directory / "replication.json").read_text())["exhibits"][0]["cells"]
    of_arm = found.parts["rates"].table.groupby("arm")["test_accuracy"].mean()
    assert [cell["mean"] for cell in cells] == pytest.approx(of_arm[["learning_rate=0.01", "learning_rate=0.0001"]])
    assert cells[0]["mean"] > cells[1]["mean"] + 0.1
    assert [verdict.name for verdict in found.verdicts] == ["fast", "wide"]
    assert found.verdicts[0].effect == pytest.approx(cells[0]["mean"] - cells[1]["mean"])
    assert "part 1 of 2: rates" in shown
    assert "the paper's page:" in shown
    assert (directory / "report.html").exists()


def test_a_second_start_trains_nothing_and_says_the_same(done):
    directory, first, _ = done
    before = made(directory)
    again, shown = go(asked(), directory)
    assert made(directory) == before
    assert again.study.runs.equals(first.study.runs)
    assert "the paper's page:" in shown


def test_a_paper_of_another_config_is_refused_before_anything_is_overwritten(done):
    directory, _, _ = done
    before = (directory / "paper.json").read_bytes()
    with pytest.raises(UserError, match="part rates: workdir .* holds results of another config .train.batch_size: 16"):
        go(asked(train__batch_size=8), directory)
    assert (directory / "paper.json").read_bytes() == before


def test_a_study_and_a_paper_do_not_share_a_workdir(done):
    directory, _, _ = done
    with pytest.raises(UserError, match="holds a paper, which is no study"):
        study.run(config.parse(mlp()), directory, Console(quiet=True))
    with pytest.raises(UserError, match="holds a study, which is no paper"):
        go(asked(), directory / "rates")
    with workdir.lock(directory), pytest.raises(UserError, match="in use by process"):
        go(asked(), directory)


def test_the_page_is_made_again_where_it_is_asked_for(done, tmp_path, capsys):
    directory, _, _ = done
    (directory / "rates/report.html").write_text("")
    try:
        for out, page, folder, link in (
            ([], directory / "report.html", directory / "exhibits", "rates/report.html"),
            ([f"--out={directory / 'other.html'}"], directory / "other.html", directory / "other_exhibits", None),
            ([f"--out={directory / 'out'}"], directory / "out/report.html", directory / "out/exhibits", "../rates/"),
        ):
            assert report.main([f"--workdir={directory}", *out]) == 0
            assert capsys.readouterr().out.strip() == str(page)
            html = page.read_text()
            assert "A paper" in html
            assert f'href="{folder.name}/table_1.csv"' in html
            assert (folder / "table_1.csv").exists()
            assert link is None or f'href="{link}' in html
            assert 'href=""' not in html  # the page of the part that has none
    finally:
        (directory / "rates/report.html").unlink()
    assert report.main([f"--workdir={directory / 'rates'}", f"--out={tmp_path / 'rates.html'}"]) == 0


def test_a_notebook_gets_all_parts(done, monkeypatch):
    directory, first, _ = done
    for module in ("keep_programs", "configure"):
        monkeypatch.setattr(notebook.sharding, module, lambda *args: None)
    found = fmnist_jax.run(asked(), str(directory))
    assert isinstance(found, paper.Replication)
    assert found.study.runs.equals(first.study.runs)


def test_a_plan_of_a_paper_names_its_parts_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "MEASURE_SECONDS", 0.05)
    shown = io.StringIO()
    plan.show_paper(config.parse(asked()), tmp_path / "w", Console(file=shown, width=100))
    assert not (tmp_path / "w").exists()
    for words in (
        "part rates",
        "2 arms x 2 seeds x 1 folds: 4 runs",
        "part wide",
        "2 arms x 3 seeds",
        "all parts together",
    ):
        assert words in shown.getvalue()


def test_a_part_that_fails_is_said_at_the_end_and_does_not_stop_the_others(tmp_path, monkeypatch):
    train_group = session.train_group

    def broken(group, dataset, directory, *rest):
        if "rates" in directory.parts:
            raise ValueError("broken")
        train_group(group, dataset, directory, *rest)

    monkeypatch.setattr(session, "train_group", broken)
    shown = io.StringIO()
    with pytest.raises(RunError, match="^rates: 1 of 1 groups failed: groups/0: ValueError: broken; --retry"):
        paper.run(config.parse(asked()), tmp_path, Console(file=shown, width=100))
    found = paper.read(tmp_path)
    assert set(found.study.runs["part"]) == {"wide"}
    assert [failure["error"] for failure in found.study.failures] == ["ValueError: broken"]
    page = (tmp_path / "report.html").read_text()
    assert "ValueError: broken" in page
    monkeypatch.undo()
    mended, _ = go(asked(), tmp_path, retry=True)
    assert set(mended.study.runs["part"]) == {"rates", "wide"}
    assert not mended.study.failures


def test_interrupted_in_a_part_it_goes_on_there(done, tmp_path, monkeypatch):
    train_group = session.train_group

    def stopped(group, dataset, directory, *rest):
        if "wide" in directory.parts:
            raise session.Interrupted(signal.SIGTERM, 3)
        train_group(group, dataset, directory, *rest)

    monkeypatch.setattr(session, "train_group", stopped)
    with pytest.raises(session.Interrupted):
        go(asked(), tmp_path)
    so_far = paper.read(tmp_path)
    assert set(so_far.study.runs["part"]) == {"rates"}
    assert so_far.study.unfinished == 6
    assert report.main([f"--workdir={tmp_path}"]) == 0  # of what is there
    monkeypatch.undo()
    before = made(tmp_path)
    found, _ = go(asked(), tmp_path)
    assert before.items() <= made(tmp_path).items()
    assert found.study.runs["test_loss"].tolist() == done[1].study.runs["test_loss"].tolist()


def test_before_any_part_has_begun_there_is_a_page_too(tmp_path, capsys):
    (tmp_path / "paper.json").write_text(json.dumps(paper.description(config.parse(asked()))))
    assert report.main([f"--workdir={tmp_path}"]) == 0
    assert len(paper.read(tmp_path).study.runs) == 0
    (tmp_path / "paper.json").write_text("{}")
    assert report.main([f"--workdir={tmp_path}"]) == 2
    assert "paper.json: no title, reference" in capsys.readouterr().err


def test_a_part_more_and_a_seed_more_train_only_what_is_new(done, tmp_path):
    go(asked(RATES, claims=CLAIMS[:1]), tmp_path)
    before = made(tmp_path)
    found, _ = go(asked({**RATES, "seeds": 3}, WIDE), tmp_path)
    assert before.items() <= made(tmp_path).items()
    assert found.study.runs["part"].value_counts().to_dict() == {"rates": 6, "wide": 6}
    less, _ = go(
        asked(WIDE, {**RATES, "part": "later", "seeds": 1}, claims=()), tmp_path
    )  # a part that is not asked for any more is left where it is
    assert set(less.study.runs["part"]) == {"wide", "later"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": ({"part": "a"}, {"part": "a"})}, "paper.parts: 'a': each part needs a name of its own"),
        ({"parts": ({"seeds": 2},)}, "paper.parts: None: each part needs a name of its own"),
        ({"parts": ({"part": "../a"},)}, "paper.parts: '../a': each part needs a name of its own"),
        ({"parts": ({"part": "exhibits"},)}, "paper.parts: 'exhibits': each part needs a name of its own"),
        ({"parts": ({"part": "a", "model.filtres": (1,)},)}, "part a: model.filtres: no such key; did you mean"),
        ({"parts": ({"part": "a", "train.batch_size": 0},)}, "part a: train.batch_size=0: must be at least 1"),
        (
            {"parts": ({"part": "a", "train.batch_size": 999},)},
            "part a: train.batch_size=999: larger than the training",
        ),
        ({"parts": ({"part": "a", "platform": "cpu"},)}, "part a: platform: is the whole paper's, not a part's"),
        (
            {"parts": ({"part": "a", "model.pool": ("max",), "model.leaky_slope": 0.5},)},
            "part a: model.leaky_slope=0.5",
        ),
        ({"claims": (claims.differ("d", {"width": 1}, {"width": 2}),)}, "claims: "),
        ({"exhibits": (exhibits.heatmap("x", "X", factors=["width", "dense"]),)}, "exhibits: "),
        ({"exhibits": EXHIBITS * 2}, "exhibits: table_1: is the name of two; their files would be one"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_left_behind(tmp_path, change, message):
    c = asked()
    c.paper.parts, c.claims = change.get("parts", c.paper.parts), change.get("claims", ())
    c.paper.exhibits = change.get("exhibits", ())
    with pytest.raises(UserError) as caught:
        go(c, tmp_path / "w")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_what_a_paper_is_called_is_read_by_papers_alone():
    with pytest.raises(UserError, match="paper.title='A paper': nothing reads it, because paper.parts is ()"):
        config.parse(mlp(paper__title="A paper"))
