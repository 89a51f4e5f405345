"""The page in headless Chromium: no error, and what is clicked away is gone from every table and plot."""

import json
import shutil
import time

import made_up
import pytest

from fmnist_jax import claims
from fmnist_jax.analysis import analyse
from fmnist_jax.report import page

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (requirements-dev.txt)")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="no chromium and chromedriver on the PATH: apt-get install chromium chromium-driver",
)


def start(*flags: str):
    """A headless Chromium whose WebGL is drawn in software."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    common = ("--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    for flag in (*common, "--disable-dev-shm-usage", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def chromium():
    driver = start()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    """The page of a full study."""
    asked = (claims.greater("A2", {"filters": 16}, {"filters": 4}, quote="more filters are better", source="a paper"),)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.render(analyse(made_up.full_study(claims=asked))), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def browser(chromium, url):
    """The page, opened afresh at desktop width, light."""
    show(chromium, url)
    yield chromium
    assert errors(chromium) == []


def show(driver, address: str, width: int = 1440, dark: bool = False) -> None:
    media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get("about:blank")  # a change of the hash alone would not load the page again
    errors(driver)
    driver.get(address)


def draw(driver) -> None:
    """Draws what is not in sight, too, as for printing."""
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")


def errors(driver) -> list[str]:
    """What the console complains of since the last call; Chromium's hints on speed are not ours."""
    return [e["message"] for e in driver.get_log("browser") if "willReadFrequently" not in e["message"]]


def rows(driver) -> list[str]:
    """The arms of the summary table."""
    return driver.execute_script(
        "return [...document.querySelectorAll('#summary tbody th')].map((th) => th.textContent)"
    )


def column(driver, index: int) -> list[str]:
    script = (
        "return [...document.querySelectorAll('#summary tbody tr')].map((tr) => tr.cells[arguments[0]].textContent)"
    )
    return driver.execute_script(script, index)


def traces(driver, name: str) -> list[dict]:
    """What Plotly has drawn: numbers and names of each trace."""
    draw(driver)
    script = """
    return JSON.stringify(document.getElementById("plot-" + arguments[0]).data.map((trace) => ({
      type: trace.type ?? "scatter", name: trace.name ?? "", x: Array.from(trace.x ?? []), y: Array.from(trace.y ?? []),
      z: Array.from(trace.z ?? []), text: trace.text, lines: trace.dimensions ? trace.dimensions[0].values.length : 0,
    })))"""
    return json.loads(driver.execute_script(script, name))


def click(driver, selector: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def chip(driver, factor: str, value: str) -> None:
    """Clicks a value of a factor in the panel."""
    script = """
    const box = document.querySelector(`.factor[aria-label="${arguments[0]}"]`);
    [...box.querySelectorAll(".chip")].find((chip) => chip.textContent === arguments[1]).click();"""
    driver.execute_script(script, factor, value)


def choose(driver, selector: str, value: str) -> None:
    script = """
    const select = document.querySelector(arguments[0]);
    select.value = arguments[1];
    select.dispatchEvent(new Event("change", { bubbles: true }));"""
    driver.execute_script(script, selector, value)


def text(driver, identity: str) -> str:
    return driver.execute_script("return document.getElementById(arguments[0]).textContent", identity)


def empty(driver, name: str) -> str:
    """What stands in a plot's place."""
    script = "return document.querySelector(`#plot-${arguments[0]}[hidden] + .empty`).textContent"
    return driver.execute_script(script, name)


def test_every_plot_is_drawn(browser):
    names = ("dots", "curves", "slices", "heat", "parallel", "space", "histogram", "time", "confusion")
    assert all(traces(browser, name) for name in names)
    assert text(browser, "trim-count") == "24 arms, 72 runs"


def test_a_plot_draws_itself_when_it_comes_into_sight(browser):
    drawn = "return document.getElementById('plot-time').data !== undefined"
    assert not browser.execute_script(drawn)
    browser.execute_script("document.getElementById('time').scrollIntoView({ behavior: 'instant' })")
    deadline = time.monotonic() + 10
    while not browser.execute_script(drawn):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_trimming_is_followed_by_every_table_and_plot(browser):
    chip(browser, "learning_rate", "0.1")
    assert text(browser, "trim-count") == "18 of 24 arms, 54 of 72 runs shown"
    assert len(rows(browser)) == 18
    assert not any("learning_rate=0.1," in arm for arm in rows(browser))
    assert len(traces(browser, "dots")[1]["x"]) == 18
    assert len(traces(browser, "slices")[0]["x"]) == 18
    assert len(traces(browser, "slices")[1]["x"]) == 3
    assert len(traces(browser, "heat")[0]["z"][0]) == 3
    assert traces(browser, "parallel")[0]["lines"] == 18
    assert len(traces(browser, "space")[0]["x"]) == 18
    assert sum(sum(trace["y"]) for trace in traces(browser, "histogram")) == 54 - 2
    assert sum(len(trace["x"]) for trace in traces(browser, "time")[1:]) == 18
    assert not any("learning_rate=0.1," in trace["name"] for trace in traces(browser, "curves"))
    tag = browser.execute_script("return getComputedStyle(document.querySelector('#importance .whole-tag')).display")
    assert tag != "none"  # what is of the whole study says so
    click(browser, "#reset")
    assert text(browser, "trim-count") == "24 arms, 72 runs"
    assert len(rows(browser)) == 20  # and more behind a button
    click(browser, "#more")
    assert len(rows(browser)) == 24


def test_trimming_everything_away_is_no_error(browser):
    for value in ("adam", "sgd"):
        chip(browser, "op", value)
    draw(browser)
    assert rows(browser) == []
    assert empty(browser, "dots") == "No arm is left: put a value back."
    chip(browser, "op", "sgd")
    assert len(traces(browser, "dots")[1]["x"]) == 12


def test_the_table_sorts_by_any_column(browser):
    means = [float(cell.split()[0]) for cell in column(browser, 1)]
    assert means == sorted(means, reverse=True)
    script = """
    const button = [...document.querySelectorAll("#summary thead button")].find((b) => b.textContent === arguments[0]);
    button.focus();
    button.click();
    return [...document.querySelectorAll("#summary th[aria-sort]")].map((th) => th.getAttribute("aria-sort"));"""
    assert browser.execute_script(script, "Mean ± sd")[1] == "ascending"
    means = [float(cell.split()[0]) for cell in column(browser, 1)]
    assert means == sorted(means)
    sorts = browser.execute_script(script, "filters")
    assert [sort for sort in sorts if sort != "none"] == ["ascending"]
    filters = [int(cell) for cell in column(browser, sorts.index("ascending"))]
    assert filters == sorted(filters)
    assert browser.execute_script("return document.activeElement.textContent") == "filters"  # for who sorts by keyboard


def test_the_metric_is_chosen_for_all(browser):
    choose(browser, "#arms [data-metric]", "test_loss")
    means = [float(cell.split()[0]) for cell in column(browser, 1)]
    assert means == sorted(means)  # the least loss first
    assert traces(browser, "dots")[1]["x"] == sorted(traces(browser, "dots")[1]["x"])
    others = browser.execute_script("return [...document.querySelectorAll('[data-metric]')].map((s) => s.value)")
    assert set(others) == {"test_loss"}


def test_the_address_holds_the_view(browser, url):
    chip(browser, "learning_rate", "0.1")
    chip(browser, "op", "sgd")
    choose(browser, ".side [data-metric]", "validation_loss")
    choose(browser, "[name=slice]", "model.filters")
    address, arms, points = browser.current_url, rows(browser), traces(browser, "slices")
    show(browser, address)
    assert text(browser, "trim-count") == "9 of 24 arms, 27 of 72 runs shown"
    assert rows(browser) == arms
    assert traces(browser, "slices") == points
    click(browser, '.toc a[href="#reproduce"]')
    assert browser.current_url == address
    show(browser, url + "#without.op=gone&metric=gone&view.slice=gone")  # of another sweep: passed over
    assert text(browser, "trim-count") == "24 arms, 72 runs"


def test_arms_are_added_to_the_curves_and_taken_away(browser):
    draw(browser)
    before = browser.execute_script("return document.querySelectorAll('#shown-arms .removable').length")
    assert before == 6
    click(browser, "#shown-arms button")
    shown = browser.execute_script("return document.querySelectorAll('#shown-arms .removable').length")
    assert shown == 5
    assert len(traces(browser, "curves")) == 5 * 2 * 3  # arms, splits, and a band of two lines for each
    choose(browser, "[name=quantity]", "loss")
    assert len(traces(browser, "curves")) == 5 * 2 * 3


def test_two_factors_must_be_two(browser):
    draw(browser)
    for factor in ("op", "model.filters", "op"):  # back and forth faster than a plot is drawn
        choose(browser, "[name=heat-x]", factor)
        choose(browser, "[name=heat-y]", "op")
        draw(browser)
    assert empty(browser, "heat") == "Choose two different factors."
    choose(browser, "[name=heat-x]", "model.filters")
    assert len(traces(browser, "heat")[0]["z"]) == 2


def test_slices_have_a_line_for_each_value_of_another_factor(browser):
    choose(browser, "[name=slice-by]", "op")
    lines = [trace for trace in traces(browser, "slices") if trace["name"] in ("adam", "sgd")]
    assert [len(line["x"]) for line in lines] == [4, 4]
    assert "op adam" in text(browser, "legend-slices")


def test_the_worst_pairs_are_named(browser):
    draw(browser)
    choose(browser, "#confusion-arm", "0")
    assert "class 6 taken for class 0" in text(browser, "pairs")


def test_the_csv_holds_the_arms_left(browser):
    script = """
    const texts = [];
    const real = window.Blob;
    window.Blob = function (parts, options) { texts.push(parts.join("")); return new real(parts, options); };
    document.getElementById("download").click();
    window.Blob = real;
    return texts[0];"""
    chip(browser, "op", "sgd")
    lines = browser.execute_script(script).strip().split("\r\n")
    assert len(lines) == 1 + 12
    assert lines[0].startswith("arm,optimizer.learning_rate,model.filters,op,metric,n,diverged,mean")


@pytest.mark.parametrize(("width", "dark"), [(360, False), (390, True)])
def test_a_phone_has_nothing_wider_than_itself(chromium, url, width, dark):
    show(chromium, url, width=width, dark=dark)
    draw(chromium)
    time.sleep(0.3)
    assert chromium.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
    click(chromium, "#side-toggle")
    assert chromium.execute_script("return document.getElementById('side-body').offsetHeight") > 200
    click(chromium, "#side-toggle")
    assert errors(chromium) == []


def test_dark_follows_the_system_and_the_button(chromium, url):
    def look():
        draw(chromium)
        script = """
        const ticks = document.getElementById("plot-dots")._fullLayout.xaxis.tickfont.color;
        return [getComputedStyle(document.body).backgroundColor, ticks];"""
        return tuple(chromium.execute_script(script))

    show(chromium, url, dark=True)
    dark = look()
    show(chromium, url)
    light = look()
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    click(chromium, "#theme")
    assert look() == dark
    click(chromium, "#theme")
    chromium.execute_script("localStorage.clear()")
    assert errors(chromium) == []


def test_without_webgl_a_sentence_stands_in(url):
    driver = start("--disable-3d-apis")
    try:
        show(driver, url)
        draw(driver)
        assert "needs WebGL" in empty(driver, "space")
        assert "needs WebGL" in empty(driver, "parallel")
        assert len(traces(driver, "dots")[1]["x"]) == 24
        assert [e for e in errors(driver) if "WebGL" not in e] == []
    finally:
        driver.quit()


def test_where_repeats_are_equal_the_band_goes_on_from_its_neighbours(chromium, tmp_path):
    """Plotly would fill across the gap what lies elsewhere."""
    study = made_up.full_study()
    at = study.curves["step"] == sorted(study.curves["step"].unique())[1]
    study.curves.loc[at, "validation_accuracy"] = 0.5
    (tmp_path / "report.html").write_text(page.render(analyse(study)), encoding="utf-8")
    show(chromium, (tmp_path / "report.html").as_uri())
    low, high, mean = traces(chromium, "curves")[:3]
    assert mean["name"].startswith("validation")
    assert low["x"] == high["x"] == [x for i, x in enumerate(mean["x"]) if i != 1]
    assert None not in low["y"] + high["y"]
