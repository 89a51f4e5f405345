"""What no room of the package may do: run what it reads, or write a file that could be half there."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = sorted((ROOT / "fmnist_jax").rglob("*.py"))
RUNS_DATA = {"eval", "exec", "compile", "__import__"}  # builtins, and no methods, such as re.compile
UNPICKLE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
WRITES = {
    *("write_text", "write_bytes", "mkstemp", "NamedTemporaryFile", "copyfile", "copy2", "copytree", "move"),
    *("link", "symlink_to", "symlink", "pwrite", "truncate", "extract", "extractall", "unpack_archive", "TarFile"),
}
# Room -> what it may do beside `writers`, through which all else goes.
MAY_WRITE = {
    "writers": {"mkstemp", "fdopen wb", "replace", "open ab"},
    "leases": {"link", "pwrite", "os.open"},  # claims: in place and of one length, fsynced
    "workdir": {"open a+", "open a", "truncate"},  # locks, whose content is for people
    "checkpoint": {"rename", "symlink_to"},  # what is set aside; a link of a plain name
    "merge": {"symlink_to"},  # to the groups of the workdirs that are joined
    "refit": {"rename"},  # a whole directory, out of the way
    "data/cache": {"open wb", "replace"},  # fsynced, and renamed into place
    "data/idx": {"replace"},  # of what was downloaded and verified
    "remote": {"write_bytes", "replace", "os.open"},  # a copy of what is in a bucket
    "terminal": {"os.open"},  # /dev/null
}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "fmnist_jax").with_suffix("").as_posix()


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node, getattr(node.func, "attr", getattr(node.func, "id", ""))


def given(node: ast.Call, keyword: str):
    """The constant that a call gives for a keyword; None where it does not."""
    return next((ast.literal_eval(one.value) for one in node.keywords if one.arg == keyword), None)


def runs_what_it_reads(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"imports {name}" for name in names if name.split(".")[0] in UNPICKLE]
    for node, name in calls(path):
        called = ast.unparse(node.func)
        if isinstance(node.func, ast.Name) and name in RUNS_DATA:
            found.append(called)
        if called.endswith("torch.load") and given(node, "weights_only") is not True:
            found.append(f"{called} without weights_only=True")
        if called in ("np.load", "numpy.load") and given(node, "allow_pickle") is not False:
            found.append(f"{called} without allow_pickle=False")
        if name in ("read_pickle", "from_pickle", "jsonpickle"):
            found.append(called)
        if called in ("os.system", "os.popen") or given_shell(node):
            found.append(f"{called} through a shell")
    return found


def given_shell(node: ast.Call) -> bool:
    return any(one.arg == "shell" for one in node.keywords)


def ways_of_writing(path: Path) -> set[str]:
    found = set()
    for node, name in calls(path):
        called = ast.unparse(node.func)
        if called == "os.open":
            flags = {getattr(part, "attr", "") for part in ast.walk(node)}
            found |= {called} if flags & {"O_WRONLY", "O_RDWR"} else set()
        elif name in ("open", "fdopen"):
            mode = mode_of(node, called)
            found |= {f"{name} {mode}"} if set(mode) & set("wax+") else set()
        elif name in WRITES or called in ("os.replace", "os.rename") or (name == "rename" and node.args):
            found.add(name)  # Path.rename has an argument; that of pandas has keywords alone
    return found


def mode_of(node: ast.Call, called: str) -> str:
    """In which a file is opened: the second argument, of a path's own method the first."""
    place = 0 if isinstance(node.func, ast.Attribute) and called not in ("gzip.open", "os.fdopen") else 1
    given = [one.value for one in node.keywords if one.arg == "mode"] + node.args[place : place + 1]
    modes = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return modes[0] if modes else "r"


@pytest.mark.parametrize("path", ROOMS, ids=room_of)
def test_nothing_that_is_read_is_run(path):
    assert runs_what_it_reads(path) == []


@pytest.mark.parametrize("path", ROOMS, ids=room_of)
def test_files_are_written_by_the_room_of_files(path):
    assert ways_of_writing(path) <= MAY_WRITE.get(room_of(path), set())


@pytest.mark.parametrize(
    "line",
    [
        *("eval(text)", "exec(text)", "import pickle", "from marshal import loads", "import yaml", "__import__(name)"),
        *(
            "np.load(path)",
            "np.load(path, allow_pickle=True)",
            "torch.load(path)",
            "torch.load(path, weights_only=False)",
        ),
        *("pd.read_pickle(path)", "subprocess.run(text, shell=True)", "os.system(text)"),
    ],
)
def test_what_would_run_it_is_seen(line, tmp_path):
    (tmp_path / "room.py").write_text(line)
    assert runs_what_it_reads(tmp_path / "room.py")


@pytest.mark.parametrize(
    "line",
    [
        *(
            "open(path, 'w')",
            "path.open('ab')",
            "open(path, mode='x')",
            "gzip.open(path, 'wb')",
            "path.write_text(text)",
        ),
        *("os.replace(a, b)", "a.rename(b)", "os.open(path, os.O_WRONLY)", "shutil.copyfile(a, b)"),
    ],
)
def test_what_would_write_is_seen(line, tmp_path):
    (tmp_path / "room.py").write_text(line)
    assert ways_of_writing(tmp_path / "room.py")


def test_what_only_reads_is_no_writing(tmp_path):
    lines = ("open(path)", "open(path, 'rb')", "path.open('rb')", "text.replace('a', 'b')", "table.rename(columns={})")
    (tmp_path / "room.py").write_text("\n".join([*lines, "Image.open(raw, formats=['PNG'])", "re.compile(text)"]))
    assert ways_of_writing(tmp_path / "room.py") == set()
    assert runs_what_it_reads(tmp_path / "room.py") == []
