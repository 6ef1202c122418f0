"""Settings of the documentation, which is built without any network.

The command is `python -m sphinx -W --keep-going -b html docs out/docs`.
"""

from __future__ import annotations

import re
from typing import Any

import dfa_tl

project = "dfa_tl"
author = "The dfa_tl authors"
version = release = dfa_tl.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images", "results"]  # measured tables are parts of a page

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # the docstrings name shapes and units; the types stand in the source
napoleon_google_docstring = True
napoleon_use_ivar = True
default_role = "code"

html_theme = "furo"
html_title = f"dfa_tl {version}"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["measured.css"]


def _as_rst(what: str, lines: list[str]) -> None:
    """Docstrings are plain text: formulas and tables become literal blocks, `|` stays a bar.

    A formula is what is indented after a blank line; a module's docstring is shown as it is
    written, but for its first line.
    """
    shown: list[str] = []
    before, after_blank, block = 0, False, None
    for place, text in enumerate(lines):
        indent = len(text) - len(text.lstrip())
        is_row = bool(re.match(r"\s*\|.*\|$", text))
        if not text.strip():
            shown.append(text)
            after_blank = True
            continue
        if block is not None and not (indent > block or is_row or what == "module"):
            shown.append("")
            block = None
        starts = after_blank and (indent > before or is_row or what == "module") and place > 0
        if block is None and starts:
            block = min(before, indent)
            shown += [" " * block + "::", ""]
        if block is None:
            before = indent
            shown.append(re.sub(r"(?<!`)\|(?!`)", r"\\|", text))
        else:
            shown.append("    " + text)
        after_blank = False
    lines[:] = shown


_of_values: dict[str, list[str]] = {}


def _before_napoleon(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep docstrings of values from napoleon: what precedes a colon in them is no type."""
    _as_rst(what, lines)
    if what in ("property", "attribute", "data"):
        _of_values[name], lines[:] = list(lines), []


def _after_napoleon(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    if what in ("property", "attribute", "data"):
        lines[:] = _of_values.pop(name, lines)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
