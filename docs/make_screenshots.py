r"""Screenshots of a report, for README and the docs: docs/images/report_*.png.

    python examples/study_bundled.py --out out/study
    dfa-tl report out/study
    python docs/make_screenshots.py out/study/report.html

Needs selenium, Chromium and chromedriver (`pip install -e ".[browser]"`).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

IMAGES = Path(__file__).parent / "images"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars "
    "--force-prefers-reduced-motion --disable-background-networking --disable-component-update"
).split()
SHARE_KEPT = 0.3  # where the slider stands in the picture of the circuit


def opened(report: Path, profile: str) -> webdriver.Chrome:
    """Chromium with the report, all figures drawn."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.get(report.resolve().as_uri())
    ready = "return document.documentElement.dataset.ready !== undefined"
    WebDriverWait(driver, 60).until(lambda one: one.execute_script(ready))
    return driver


def picture(
    driver: webdriver.Chrome, name: str, width: int, height: int, scale: float = 1.0
) -> None:
    """The visible part of the page at a size, as docs/images/`name`.png."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    settled = "return innerWidth === arguments[0]"
    WebDriverWait(driver, 10).until(lambda one: one.execute_script(settled, width))
    driver.execute_async_script("setTimeout(arguments[0], 1000)")  # figures take the new width
    driver.save_screenshot(IMAGES / f"{name}.png")


def main() -> None:
    """First screens on a desk and on a phone, and the figures of a circuit."""
    parser = argparse.ArgumentParser(description="Screenshots of a report.")
    parser.add_argument("report", type=Path)
    with tempfile.TemporaryDirectory() as profile:
        driver = opened(parser.parse_args().report, profile)
        try:
            picture(driver, "report_first_screen", 1280, 800)
            picture(driver, "report_phone", 375, 812, scale=1.5)
            driver.execute_script(
                """
                const slider = document.querySelector("#figure-circuit-graph input");
                slider.value = Math.round(arguments[0] * slider.max);
                slider.dispatchEvent(new Event("input"));
                """,
                SHARE_KEPT,
            )
            driver.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": 1280, "height": 1080, "deviceScaleFactor": 1, "mobile": False},
            )
            driver.execute_script("document.getElementById('circuit').scrollIntoView()")
            picture(driver, "report_figures", 1280, 1080)
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
