"""Pages as a reader meets them: opened in Chromium, used by mouse, keyboard and on a phone.

Skipped where Chromium, chromedriver or selenium is missing; with DFA_TL_BROWSER=1 in the
environment that is a failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from plotly.io import to_html

from dfa_tl.models.attention import attention_patterns
from dfa_tl.viz.attention import attention_view, token_view

pytestmark = pytest.mark.browser

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--force-prefers-reduced-motion "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
NOTEBOOKS = {"quickstart": 4, "own_task": 2}
"""How many figures each draws."""
DRAWN = """
const plots = [...document.querySelectorAll('.plot, .plotly-graph-div')].map((plot) => {
  const svg = plot.querySelector('svg.main-svg');
  if (!svg) return [plot.closest('[id]')?.id, 0, 0];
  const box = svg.getBoundingClientRect();
  return [plot.closest('[id]')?.id, svg.querySelectorAll('path, rect, text').length,
          Math.min(box.width, box.height)];
});
const views = [...document.querySelectorAll('.dfa-stage')].map((stage) => {
  const canvases = [...stage.querySelectorAll('canvas')];
  const blank = canvases.some((canvas) => {
    const {width, height} = canvas;
    if (!width || !height) return true;
    const pixels = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    return !pixels.some((value, place) => place % 4 === 3 && value > 0);
  });
  const texts = [...stage.querySelectorAll('.colored-tokens')].map((one) => one.innerText);
  return [stage.querySelector('p').textContent, canvases.length + texts.length,
          !blank && texts.every((text) => text.trim())];
});
return {plots, views};
"""


def needed(there: object, what: str) -> None:
    if not there:
        (pytest.fail if os.environ.get("DFA_TL_BROWSER") else pytest.skip)(f"no {what}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        webdriver = None
    needed(webdriver, "selenium")
    needed(CHROMIUM, "chromium")
    needed(DRIVER, "chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(20)
    yield driver
    driver.quit()


class Tab:
    """A page in the browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        self.driver.get("about:blank")
        self.messages()
        self.requests()
        self.size(1280, 900)
        self.driver.get(path.as_uri())
        self.until("document.readyState === 'complete'")
        # Figures draw one after the other; a notebook has no such flag.
        if "data-ready" in path.read_text(encoding="utf-8") or self.run(
            "return !!document.querySelector('figure.drawing')"
        ):
            self.until("document.documentElement.dataset.ready !== undefined")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"never true: {condition}"
            time.sleep(0.05)

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def messages(self) -> list[str]:
        """Errors on the console since the last call."""
        return [
            one["message"] for one in self.driver.get_log("browser") if one["level"] == "SEVERE"
        ]

    def requests(self) -> list[str]:
        """Addresses asked for since the last call."""
        entries = (
            json.loads(one["message"])["message"] for one in self.driver.get_log("performance")
        )
        return [
            entry["params"]["request"]["url"]
            for entry in entries
            if entry["method"] == "Network.requestWillBeSent"
        ]

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)


@pytest.fixture(scope="module")
def pages(report_files, toy_small, tmp_path_factory) -> dict[str, Path]:
    """The reports, and a page such as a notebook shows with one view in each of two cells."""
    from dfa_tl import load_task

    pair = load_task("mcqa", n=1, split="test").pairs[0]
    patterns = attention_patterns(toy_small, pair, ["a2.h2", "m0", "a0.h0"])
    cells = tmp_path_factory.mktemp("cells") / "cells.html"
    body = attention_view(patterns)._repr_html_() + token_view(patterns)._repr_html_()
    cells.write_text(
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>Cells</title>"
        f"<meta name=viewport content='width=device-width'></head><body>{body}</body></html>",
        encoding="utf-8",
    )
    return {**report_files, "cells": cells}


def unfold(tab: Tab) -> None:
    """Open what is folded, and wait for its figures."""
    tab.run("for (const one of document.querySelectorAll('details')) one.open = true")
    figures = "[...document.querySelectorAll('figure.drawing')]"
    tab.until(f"{figures}.every((one) => one.dataset.drawn !== undefined)")


def check(tab: Tab, path: Path) -> dict[str, list[list[Any]]]:
    """What holds for every page. Returns what was drawn."""
    tab.open(path)
    unfold(tab)
    tab.until(f"(() => {{{DRAWN}}})().views.every(([, n, filled]) => n && filled)")
    drawn = tab.run(DRAWN)
    for name, n_marks, size in drawn["plots"]:
        assert n_marks > 5, f"{name} is empty"
        assert size > 100, f"{name} has no size"
    assert tab.messages() == []
    elsewhere = [
        url for url in tab.requests() if not url.startswith(("data:", "blob:", path.as_uri()))
    ]
    assert elsewhere == []
    tab.size(375, 812, mobile=True)
    tab.until("innerWidth === 375")
    tab.until("document.documentElement.scrollWidth <= 375", seconds=5)
    assert tab.messages() == []
    return drawn


@pytest.fixture(scope="module")
def tab(browser) -> Tab:
    return Tab(browser)


@pytest.fixture
def report(tab, pages) -> Tab:
    """The report of the small study, on a wide screen. Tests share it, each has its own part."""
    if tab.driver.current_url.partition("#")[0] != pages["small"].as_uri():
        tab.open(pages["small"])
    tab.size(1280, 900)
    tab.messages()
    return tab


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_plots", "n_views"), [("small", 12, 6), ("hostile", 14, 0), ("cells", 0, 6)]
)
def test_a_page_draws_itself_alone_on_any_screen(tab, pages, name, n_plots, n_views):
    drawn = check(tab, pages[name])
    assert len(drawn["plots"]) == n_plots
    assert len(drawn["views"]) == n_views
    assert tab.driver.title != "taken"  # what the hostile study's name would set


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_figures"), NOTEBOOKS.items())
def test_notebooks(tab, name, n_figures, notebooks_folder, tmp_path):
    """A notebook of examples/, run and exported as one page."""
    nbconvert = pytest.importorskip("nbconvert")
    import nbformat

    from test_notebooks import FIGURE

    notebook = nbformat.read(notebooks_folder / f"{name}.ipynb", as_version=4)
    # The badge is for GitHub's page; its image is the one thing that asks a host.
    notebook.cells[0].source = re.sub(r"!\[([^]]*)\]\([^)]*\)", r"\1", notebook.cells[0].source)
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", []) if "data" in one]
    figures = [one.data for one in outputs if FIGURE in one.data]
    for place, data in enumerate(figures):  # drawn by plotly's script, as in Jupyter
        data["text/html"] = to_html(
            data[FIGURE], include_plotlyjs=place == 0, include_mathjax=False, full_html=False
        )
    exporter = nbconvert.HTMLExporter(mathjax_url="", require_js_url="", jquery_url="")
    page = tmp_path / f"{name}.html"
    page.write_text(exporter.from_notebook_node(notebook)[0], encoding="utf-8")
    drawn = check(tab, page)
    assert len(drawn["plots"]) == n_figures


def test_the_policy_lets_no_request_out(report):
    """Even a script of the page itself could send nothing."""
    report.run(
        "new Image().src = 'http://example.invalid/a.png'; fetch('http://example.invalid/b')"
    )
    report.until("true")
    time.sleep(0.2)
    refused = [one for one in report.messages() if "Content Security Policy" in one]
    for address in ("http://example.invalid/a.png", "http://example.invalid/b"):
        assert any(address in one for one in refused)


def test_the_slider_changes_what_is_shown(report):
    shown = """
    const plot = document.querySelector('#figure-circuit-graph .plot');
    const kept = plot._fullData.filter((t) => t.visible === true && t.name === 'kept (target)');
    const marks = [...plot.querySelectorAll('.scatterlayer .trace')]
      .filter((trace) => trace.__data__[0].trace.name === 'kept (target)')
      .map((trace) => trace.querySelectorAll('.points path').length);
    return [kept.length, kept[0].x.length, marks[0],
            document.querySelector('#figure-circuit-graph output').textContent];
    """

    def state() -> tuple[int, str]:
        one, n_nodes, n_marks, text = report.run(shown)
        assert one == 1
        said = re.fullmatch(
            r"k = [\d.]+: \d+ of 15 source nodes, (\d+) of 42 target nodes, "
            r"faithfulness [=≈] (−?-?\d\.\d\d)",
            text,
        )
        assert said, text
        assert int(said[1]) == n_nodes == n_marks
        return n_nodes, said[2]

    slider = report.find("#figure-circuit-graph input[type=range]")
    slider.send_keys("\ue011")  # Home
    states = [state()]
    slider.send_keys("\ue014" * 4)  # the right arrow
    states.append(state())
    slider.send_keys("\ue010")  # End
    states.append(state())
    assert states[0][0] < states[1][0] < states[2][0] == 42
    assert states[2][1] == "1.00"
    assert len({f for _, f in states}) > 1
    assert report.find("#figure-circuit-graph input").get_attribute("aria-valuetext") in (
        report.find("#figure-circuit-graph output").text
    )
    assert report.messages() == []


def column(tab: Tab, table: str, place: int) -> list[float]:
    cells = tab.run(
        f"return [...document.querySelectorAll('#{table} tbody tr')]"
        f".map((row) => row.cells[{place}].dataset.sort)"
    )
    return [float(cell) for cell in cells]


def test_tables_sort_by_mouse_and_by_keyboard(report):
    headings = report.run(
        "return [...document.querySelectorAll('#table-overall th')].map((th) => th.innerText)"
    )
    place = headings.index("difference")
    heading = report.find(f"#table-overall th:nth-child({place + 1})")
    button = report.find(f"#table-overall th:nth-child({place + 1}) button")
    before = column(report, "table-overall", place)
    assert before != sorted(before)
    button.click()
    assert column(report, "table-overall", place) == sorted(before)
    assert heading.get_attribute("aria-sort") == "ascending"
    button.send_keys("\ue007")  # Enter
    assert column(report, "table-overall", place) == sorted(before, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    assert "descending" in report.find("[role=status]").get_attribute("textContent")
    other = report.find("#table-overall th:nth-child(1) button")
    other.send_keys(" ")
    assert heading.get_attribute("aria-sort") is None
    sorted_now = report.run(
        "return document.querySelectorAll('#table-overall th[aria-sort]').length"
    )
    assert sorted_now == 1


def test_missing_values_sort_last(report):
    """`pairs needed` may be missing; whichever way the column is sorted, that comes last."""
    report.run("document.querySelector('#table-break-even tbody tr').cells[2].dataset.sort = ''")
    for _ in range(2):
        report.find("#table-break-even th:nth-child(3) button").click()
        values = report.run(
            "return [...document.querySelectorAll('#table-break-even tbody tr')]"
            ".map((row) => row.cells[2].dataset.sort)"
        )
        assert values[-1] == ""
        assert "" not in values[:-1]


def test_the_skip_link_comes_first(report, pages):
    report.open(pages["small"])
    report.find("body").send_keys("\ue004")  # Tab
    focused = report.driver.switch_to.active_element
    assert focused.text == "Skip to the content"
    assert focused.rect["y"] >= 0
    report.press("\ue007")
    assert report.run("return document.activeElement.id") == "main"


def test_heads_can_be_chosen_by_keyboard(report):
    report.until("document.querySelectorAll('.dfa-heads [role=button]').length === 4")
    second = report.run("return document.querySelectorAll('.dfa-heads [role=button]')[1]")
    assert second.get_attribute("aria-label") == "Show head a0.h0"
    report.run("arguments[0].focus()", second)
    report.press(" ")
    report.until("document.querySelector('.dfa-heads h2').textContent === 'a0.h0'")
    assert second.get_attribute("aria-pressed") == "true"
    pressed = report.run(
        "return [...document.querySelectorAll('.dfa-heads [role=button]')]"
        ".map((one) => one.ariaPressed)"
    )
    assert pressed == ["false", "true", "true", "false"]  # clean's first, corrupt's untouched


def test_only_what_scrolls_can_be_tabbed_to(report):
    report.size(375, 812, mobile=True)
    report.until("document.querySelector('#table-overall').closest('.scroll').tabIndex === 0")
    report.until(
        "[...document.querySelectorAll('.scroll')].every((part) => "
        "(part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1)"
        " === (part.tabIndex === 0 && Boolean(part.ariaLabel)))"
    )


def test_what_is_folded_is_drawn_when_it_is_opened(tab, pages):
    tab.open(pages["hostile"])
    drawn = "document.querySelectorAll('.further svg.main-svg').length"
    assert tab.run(f"return {drawn}") == 0
    summary = tab.find("#faithfulness .further summary")
    assert summary.text.endswith("exact: faithfulness by task")
    tab.run("arguments[0].focus()", summary)
    tab.press("\ue007")
    tab.until("document.querySelector('#figure-curves-2').dataset.drawn !== undefined")
    width = "document.querySelector('#{} svg.main-svg').getBoundingClientRect().width"
    of_first, of_second = (width.format(name) for name in ("figure-curves", "figure-curves-2"))
    tab.until(f"{of_first} === {of_second}")
    tab.press("\ue007")  # folded, while the window becomes narrower
    tab.size(900, 900)
    tab.until(f"{of_first} < 900")
    tab.press("\ue007")
    tab.until(f"{of_first} === {of_second}")
    assert tab.messages() == []


def test_print_draws_what_is_folded(tab, pages):
    tab.open(pages["hostile"])
    tab.run("dispatchEvent(new Event('beforeprint'))")
    assert tab.run(
        "return [...document.querySelectorAll('.further .plot')]"
        ".every((plot) => plot.querySelector('svg.main-svg'))"
    )


def test_print(report):
    report.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = report.run(
        "return ['nav', '.skip', '.slider'].map((s) => "
        "getComputedStyle(document.querySelector(s)).display)"
    )
    report.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown == ["none"] * 3


CONTRASTS = """
const light = (color) => {
  const [r, g, b] = color.match(/[0-9.]+/g).map(Number).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const page = light(getComputedStyle(document.body).backgroundColor);
const found = [
  'body', '.byline', 'main a, nav a', '.statements dt', '.bars .cmd', 'figcaption, .note',
];
return [page, found.map((s) => {
  const element = document.querySelector(s);
  const text = light(getComputedStyle(element).color);
  return [s, (Math.max(page, text) + 0.05) / (Math.min(page, text) + 0.05)];
})];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark_mode(report, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    report.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page, contrasts = report.run(CONTRASTS)
    plot = report.run("return getComputedStyle(document.querySelector('.plot')).backgroundColor")
    report.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert (page < 0.05) == (scheme == "dark")
    for selector, contrast in contrasts:
        assert contrast >= 4.5, selector  # WCAG 2.1, level AA
    if scheme == "dark":
        assert plot == "rgb(255, 255, 255)"  # figures are drawn for a light page
