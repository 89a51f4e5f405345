"""A CSV from elsewhere: read as a study, or refused in one line that says what is wrong."""

import numpy as np
import pytest

from fmnist_jax.analysis import analyse
from fmnist_jax.errors import UserError
from fmnist_jax.report import __main__, foreign

THEIRS = """lr,opt,val/acc,note,time,accuracy
0.1,sgd,0.7,x,2,0.80
0.1,sgd,0.8,x,3,0.82
0.001,adam,0.9,y,4,0.91
0.001,adam,,y,5,nan
0.001,sgd,0.9,y,6,0.90
"""


def read(tmp_path, text=THEIRS, metric="accuracy", factors=("lr", "opt"), **more):
    path = tmp_path / "theirs.csv"
    path.write_text(text, encoding="utf-8")
    return foreign.read(path, metric, list(factors), **more)


def test_arms_are_combinations_and_repeats_are_rows(tmp_path):
    study = read(tmp_path, seconds="time")
    assert study.arms == ("lr=0.001,opt=sgd", "lr=0.001,opt=adam", "lr=0.1,opt=sgd")
    assert study.runs["seed"].tolist() == [0, 1, 0, 1, 0]
    assert study.metrics == ("accuracy", "validation_acc")
    assert study.runs["diverged_at"].notna().tolist() == [False, False, False, True, False]
    assert study.runs["train_seconds"].tolist() == [2, 3, 4, 5, 6]
    assert [f.numeric for f in study.factors] == [True, False]
    summary = analyse(study).summary.set_index(["arm", "metric"])
    assert summary.loc[("lr=0.1,opt=sgd", "accuracy"), "mean"] == pytest.approx(0.81)
    assert summary.loc[("lr=0.001,opt=adam", "accuracy"), "n"] == 1
    assert summary.loc[("lr=0.001,opt=adam", "accuracy"), "diverged"] == 1


def test_seed_and_fold_columns_are_kept(tmp_path):
    text = "lr,s,f,acc\n1,7,0,0.1\n1,7,1,0.2\n2,7,0,0.3\n2,8,0,0.4\n"
    study = read(tmp_path, text, "acc", ["lr"], seed="s", fold="f")
    assert study.runs["seed"].tolist() == [7, 7, 7, 8]
    assert study.runs["fold"].tolist() == [0, 1, 0, 0]


def test_names_of_ours_in_their_columns_do_no_harm(tmp_path):
    text = "arm,epoch,seed,fold\n1,a,0.5,x\n2,a,0.6,y\n1,b,0.7,z\n2,b,0.8,w\n"
    study = read(tmp_path, text, "seed", ["arm", "epoch"])
    assert study.arms == ("arm=1,epoch=a", "arm=1,epoch=b", "arm=2,epoch=a", "arm=2,epoch=b")
    assert study.runs[study.metric].tolist() == [0.5, 0.6, 0.7, 0.8]
    assert analyse(study).best == "arm=2,epoch=b"


def test_lower_is_better(tmp_path):
    study = read(tmp_path, "lr,wer\n1,0.5\n1,0.6\n2,0.1\n2,0.2\n", "wer", ["lr"], lower=True)
    assert study.metric == "wer_error"
    assert analyse(study).best == "lr=2"


def test_semicolons_tabs_and_a_byte_order_mark(tmp_path):
    for text in ("\ufefflr;acc\n1;0.5\n2;0.6\n", "lr\tacc\n1\t0.5\n2\t0.6\n"):
        study = read(tmp_path, text, "acc", ["lr"])
        assert study.arms == ("lr=1", "lr=2")


def test_quoted_fields_and_blank_lines(tmp_path):
    study = read(tmp_path, 'opt,acc\n"a, b",0.5\n\n"c",0.6\n', "acc", ["opt"])
    assert study.arms == ("opt=a, b", "opt=c")


@pytest.mark.parametrize(
    ("text", "asked", "said"),
    [
        (THEIRS, {"metric": "acuracy"}, "no column 'acuracy'; did you mean 'accuracy'? There are 'lr', 'opt'"),
        (THEIRS, {"factors": ["lr", "nothing like it"]}, "no column 'nothing like it' There are 'lr'"),
        (THEIRS, {"metric": "note"}, "column 'note', row 2: 'x' is not a number"),
        (THEIRS, {"factors": ["lr", "lr"]}, "column 'lr' is asked for twice"),
        (THEIRS, {"factors": []}, "--factors: none"),
        (THEIRS, {"seed": "note"}, "rows 2 and 3 are the same run (lr=0.1,opt=sgd, note 0)"),
        ("lr,acc\n1,0.5\n1,0.6\n", {"metric": "acc", "factors": ["lr"]}, "factor 'lr': '1' in every row"),
        ("lr,lr,acc\n1,2,3\n", {}, "two columns are named 'lr'"),
        ("", {}, "empty; the first row must name the columns"),
        ("lr,opt,accuracy\n", {}, "no rows below the names of the columns"),
        ("lr,opt,accuracy\n1,2\n", {}, "row 2 has 2 fields, the first row has 3"),
        ('lr,opt,accuracy\n1,"2,3\n', {}, "not a CSV"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, asked, said):
    with pytest.raises(UserError) as error:
        read(tmp_path, text, **asked)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        foreign.read(tmp_path / "none.csv", "a", ["b"])
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(UserError, match="not text in UTF-8"):
        foreign.read(tmp_path / "binary.csv", "a", ["b"])


def test_the_command_writes_the_page_where_it_is_told(tmp_path, capsys):
    (tmp_path / "theirs.csv").write_text(THEIRS)
    csv = [f"--csv={tmp_path / 'theirs.csv'}", "--metric=accuracy", "--factors=lr,opt"]
    assert __main__.main([*csv, f"--out={tmp_path / 'sub' / 'mine.html'}"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "sub" / "mine.html")
    assert "What do lr and opt do to accuracy?" in (tmp_path / "sub" / "mine.html").read_text(encoding="utf-8")
    assert (tmp_path / "sub" / "mine_figures" / "summary.csv").exists()


def test_the_command_fails_with_status_2_and_one_line(tmp_path, capsys):
    (tmp_path / "theirs.csv").write_text(THEIRS)
    csv = f"--csv={tmp_path / 'theirs.csv'}"
    for arguments in (
        [csv, "--metric=none", "--factors=lr"],
        [csv, "--factors=lr"],
        [f"--workdir={tmp_path}"],
        [f"--workdir={tmp_path}", "--metric=accuracy"],
    ):
        assert __main__.main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
    with pytest.raises(SystemExit) as stopped:
        __main__.main([])
    assert stopped.value.code == 2


def test_50_000_rows_are_read_soon(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{lr},{width},{acc:.4f}" for lr in range(50) for width in range(100) for acc in rng.random(10)]
    study = read(tmp_path, "lr,width,acc\n" + "\n".join(rows), "acc", ["lr", "width"])
    assert len(study.runs) == 50_000
    assert len(study.arms) == 5000


def test_a_seed_column_is_the_seed_without_being_named(tmp_path):
    """Rows of an arm in another order: numbered, they would be paired with the wrong ones."""
    path = tmp_path / "theirs.csv"
    path.write_text("lr,seed,accuracy\n1,7,0.5\n1,8,0.6\n2,8,0.7\n2,7,0.6\n")
    runs = foreign.read(path, "accuracy", ["lr"]).runs
    by_seed = runs.pivot_table("accuracy", index="seed", columns="lr")
    assert (by_seed[2] - by_seed[1]).tolist() == pytest.approx([0.1, 0.1])
