"""What all plots of the benchmarks have."""

import pytest
from matplotlib.figure import Figure

from benchmarks import plots

FOUND = {"hardware": {"cpu": "A CPU", "cores": 2}, "date": "2026-01-02T03:04:05+00:00"}


@pytest.mark.parametrize("inches", [6.4, 9.6, 14.0])
def test_a_long_foot_stays_within_its_figure(inches):
    figure = Figure((inches, 4), layout="constrained")
    plots.frame(figure, "A title", "Medians and ranges of many words " * 8, FOUND)
    figure.draw_without_rendering()
    (foot,) = (text for text in figure.texts if "2026-01-02" in text.get_text())
    assert foot.get_window_extent().x1 <= figure.bbox.x1
