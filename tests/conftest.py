"""Two virtual devices for every test, as a user's two-core machine has, and a cache of its own."""

import os
import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
jax.config.update("jax_num_cpu_devices", 2)

ROOT = Path(__file__).parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"
LONGEST = ("test_main.py", "test_engine.py", "test_studies.py", "test_laws.py", "test_benchmarks.py", "test_paper.py")


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
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place  # workers share what they compile
    jax.config.update("jax_compilation_cache_dir", str(place / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv(
        "XDG_CACHE_HOME", os.environ.get("FMNIST_TEST_CACHE") or str(tmp_path_factory.getbasetemp() / "cache")
    )
