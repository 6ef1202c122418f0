"""Draw the figures that README and docs show: `python docs/make_images.py` (needs Chromium).

Each is what an example wrote, opened in headless Chromium and photographed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BROWSER = "chromium"


def main() -> None:
    """Run the main example and photograph its figure."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "transfer.html"
        script = HERE.parent / "examples" / "transfer_ioi.py"
        subprocess.run([sys.executable, script, "--out", page], check=True)
        image = HERE / "images" / "transfer_ioi.png"
        image.parent.mkdir(exist_ok=True)
        subprocess.run(
            [
                BROWSER,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--disable-background-networking",
                f"--user-data-dir={folder}/profile",
                "--window-size=916,616",
                "--virtual-time-budget=5000",
                f"--screenshot={image}",
                page.as_uri(),
            ],
            check=True,
        )


if __name__ == "__main__":
    main()
