"""Saving figures as files: interactive pages, and images for papers."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import plotly.graph_objects as go

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError, DFAError
from dfa_tl.io.atomic import user_path, write_file
from dfa_tl.settings import check_number, check_whole

IMAGES = ("png", "pdf", "svg", "jpg", "webp")
FIGURE_ENDINGS = (".html", *(f".{kind}" for kind in IMAGES))


class ExportError(DFAError, RuntimeError):
    """Kaleido or a browser is not installed, so no image can be made."""


@checked_arguments
def save_figure(
    figure: go.Figure,
    path: str | Path,
    *,
    width: int | None = None,
    height: int | None = None,
    scale: float = 2,
) -> Path:
    """Write a figure to a file, in the format of its suffix.

    Args:
        figure: Any plotly figure.
        path: `.html` for an interactive page that needs no network (about 5 MB, with plotly.js
            inside), `.png`, `.jpg`, `.webp`, `.svg` or `.pdf` for an image, which needs the extra
            `export` and a Chrome or Chromium browser.
        width: Pixels; the figure's own by default.
        height: Pixels; the figure's own by default.
        scale: Pixels of an image per pixel of the figure.

    Returns:
        The path.

    Raises:
        ConfigError: an unknown suffix.
        ExportError: kaleido or a browser is not installed.
    """
    for name, pixels in (("width", width), ("height", height)):
        if pixels is not None:
            check_whole(name, pixels, 10)
    check_number("scale", scale, above=0)
    path = user_path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind == "html":
        write_file(path, _page(figure, width, height).encode())
        return path
    if kind not in IMAGES:
        raise ConfigError(
            f"a figure is saved as html or as one of {', '.join(IMAGES)}; {path.name!r} ends in "
            f"{path.suffix!r}"
        )
    if find_spec("kaleido") is None:
        raise ExportError(
            f"saving a figure as {kind} needs kaleido: run pip install kaleido, or save "
            "it as .html, which needs nothing"
        )
    write_file(path, _image(figure, kind, width, height, scale))
    return path


def _page(figure: go.Figure, width: int | None, height: int | None) -> str:
    page = go.Figure(figure)
    given = {"width": width, "height": height}
    page.update_layout({name: pixels for name, pixels in given.items() if pixels is not None})
    alt = (page.to_dict()["layout"].get("meta") or {}).get("alt", "")
    # "</" would end the script.
    label = json.dumps(alt, allow_nan=False).replace("</", "<\\/")
    script = (
        "const figure = document.getElementById('{plot_id}');"
        f"figure.setAttribute('role', 'figure'); figure.setAttribute('aria-label', {label});"
    )
    # Plotly's toolbar offers to upload the figure; this page talks to no host.
    config = {"showSendToCloud": False, "displaylogo": False}
    return page.to_html(config, include_plotlyjs=True, post_script=script if alt else None)


def _image(
    figure: go.Figure, kind: str, width: int | None, height: int | None, scale: float
) -> bytes:
    try:
        return figure.to_image(kind, width=width, height=height, scale=scale)
    except Exception as error:
        # Kaleido's own kinds of errors moved between its versions.
        if "chrome" not in f"{type(error).__name__} {error}".lower():
            raise
        raise ExportError(
            f"saving a figure as {kind} needs a Chrome or Chromium browser: install one, or run "
            "plotly_get_chrome; where it is not found, set BROWSER_PATH to it. Saving as .html "
            f"needs nothing. Kaleido said: {error}"
        ) from error
