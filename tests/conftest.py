"""Two virtual devices for every test, as a user's two-core machine has, and a cache of its own."""

import gc
import os
import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
jax.config.update("jax_num_cpu_devices", 2)

from fmnist_jax import population  # noqa: E402

ROOT = Path(__file__).parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"
LONGEST = (
    *("test_main.py", "test_laws.py", "test_benchmarks_more.py", "test_engine.py", "test_remote.py", "test_share.py"),
    *("test_faults.py", "test_studies.py", "test_study.py", "test_hosts.py", "test_benchmarks_throughput.py"),
    *("test_streaming.py", "test_report_browser.py", "test_timing.py", "test_benchmarks.py", "test_augment.py"),
)
# What is tested here is the machinery about the programs (what is trained, kept, chosen, timed and shown), or a formula
# within a tolerance. XLA compiles theirs without optimising, in half the time. The laws of the programs themselves, and
# whatever compares the bits of two of them, have them as a user has; so have the faults (python -m benchmarks.faults).
COMPILED_QUICKLY = (
    *("test_activities.py", "test_augment.py", "test_benchmarks.py", "test_benchmarks_more.py"),
    *("test_carry.py", "test_engine.py", "test_faults_more.py"),
    *("test_models.py", "test_paper.py", "test_plan.py", "test_pooling.py", "test_profiling.py", "test_references.py"),
    *("test_share.py", "test_studies.py", "test_study.py", "test_timing.py", "test_weights.py", "test_whitening.py"),
)
QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # the same in the environment of another process


def pytest_collection_finish():
    """What is imported by now stays: no collection of garbage looks at it again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """The longest files first, so that at the end no worker is left alone with one."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets; skips where it is not there."""
    if not (REAL_DATA / "fashion-mnist").is_dir():
        pytest.skip(f"no real data at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session", autouse=True)
def _compilation_cache(tmp_path_factory):
    """Tests that train the same tiny networks compile them once."""
    for name, value in _programs(tmp_path_factory).items():
        jax.config.update(name, value)


def _programs(tmp_path_factory) -> dict:
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place  # workers share what they compile
    kept = {"jax_persistent_cache_min_compile_time_secs": 0, "jax_persistent_cache_min_entry_size_bytes": -1}
    return {"jax_compilation_cache_dir": str(place / "xla"), **kept}


@pytest.fixture(scope="module")
def shared_programs(tmp_path_factory):
    """The processes that a file's tests start compile once, too, whatever cache they have for the rest."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _programs(tmp_path_factory).items():
            patch.setenv(name.upper(), str(value))
        yield


@pytest.fixture(scope="module", autouse=True)
def _optimisation(request):
    """A file's programs, of its fixtures and of the processes that it starts too, are all compiled in one way."""
    quickly = request.path.name in COMPILED_QUICKLY
    if quickly != jax.config.read("jax_disable_most_optimizations"):
        population.forget_programs()
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", quickly)
    with pytest.MonkeyPatch.context() as patch:
        if quickly:
            patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv(
        "XDG_CACHE_HOME", os.environ.get("FMNIST_TEST_CACHE") or str(tmp_path_factory.getbasetemp() / "cache")
    )
