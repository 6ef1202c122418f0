"""Attention patterns and per-token attention of a circuit's heads, drawn by circuitsvis offline.

circuitsvis's own HTML takes its script from a content delivery network whenever there is a network,
and puts tokens into the page as markup. Here the script comes from the installed package, the data
are JSON that cannot contain markup, and a token's `<` and `>` are shown as ‹ and ›.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import circuitsvis
from jaxtyping import Float
from torch import Tensor

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError
from dfa_tl.models.attention import AttentionPatterns
from dfa_tl.viz.theme import COLORS

HERE = Path(__file__).parent
SCRIPT = Path(circuitsvis.__file__).parent / "dist" / "cdn" / "iife.js"
DECIMALS = 3
RUNS = ("clean", "corrupt")


@checked_arguments
@dataclass(frozen=True)
class AttentionView:
    """A view that Jupyter shows and that a page can contain.

    Attributes:
        body: Markup and data, without scripts. A page needs `view_style()` and, after the last
            view, `circuitsvis_script()` and `view_script()`, each once.
        alt: What it shows, in a sentence.
    """

    body: str
    alt: str

    @property
    def html(self) -> str:
        """The view with everything it needs: no file and no network."""
        return (
            f"<style>{view_style()}</style>\n{self.body}\n"
            f"<script>{circuitsvis_script()}</script>\n<script>{view_script()}</script>\n"
        )

    def _repr_html_(self) -> str:
        return self.html


@checked_arguments
def attention_view(patterns: AttentionPatterns, *, title: str = "") -> AttentionView:
    """Every head's pattern, clean above corrupt: small ones to choose from, the chosen one large.

    Args:
        patterns: From `dfa_tl.models.attention.attention_patterns`.
        title: Title of the view; by default the model's name.
    """
    stages = [
        _stage(
            f"{run} prompt",
            "AttentionHeads",
            {
                "tokens": _shown(_tokens(patterns, run)),
                "attention": _numbers(_values(patterns, run)),
                "attentionHeadNames": list(patterns.heads),
                "positiveColor": COLORS[1],
                "maxValue": 1,
            },
        )
        for run in RUNS
    ]
    n_tokens = len(patterns.clean_tokens)
    alt = (
        f"Attention patterns of {len(patterns.heads)} heads of {patterns.model} over {n_tokens} "
        f"tokens, clean and corrupt. From the last token, {_strongest(patterns)}."
    )
    table = _table(patterns, n_tokens - 1)
    return _view(title or f"Attention in {patterns.model}", alt, [*stages, table])


@checked_arguments
def token_view(
    patterns: AttentionPatterns, *, position: int = -1, title: str = ""
) -> AttentionView:
    """The prompt once per head, each token coloured by its attention from one position.

    Args:
        patterns: From `dfa_tl.models.attention.attention_patterns`.
        position: The query position; the last one by default.
        title: Title of the view; by default the model's name and the token.

    Raises:
        ConfigError: no such position.
    """
    n_tokens = len(patterns.clean_tokens)
    if not -n_tokens <= position < n_tokens:
        raise ConfigError(f"position {position}: the prompt has {n_tokens} tokens")
    index = position % n_tokens
    query = _shown(patterns.clean_tokens)[index].strip()
    stages = [
        _stage(
            f"{head}, {run}",
            "ColoredTokens",
            {
                "tokens": _shown(_tokens(patterns, run)),
                "values": _numbers(_values(patterns, run)[number, index]),
                "positiveColor": COLORS[1],
                "maxValue": 1,
                "paddingBottom": 0,
            },
        )
        for number, head in enumerate(patterns.heads)
        for run in RUNS
    ]
    alt = (
        f"Each token coloured by its attention from “{query}” (position {index}), in "
        f"{len(patterns.heads)} heads of {patterns.model}, clean and corrupt."
    )
    heading = title or f"Attention from “{query}” in {patterns.model}"
    return _view(heading, alt, [*stages, _table(patterns, index)], "dfa-tokens")


@cache
def circuitsvis_script() -> str:
    """The script of the installed circuitsvis, safe inside a `<script>` element."""
    text = SCRIPT.read_text(encoding="utf-8").replace("</script", r"<\/script")
    code = text.rpartition("\n//# sourceMappingURL")[0] or text
    return f"window.CircuitsVis ??= (() => {{{code}\nreturn CircuitsVis;}})();"


@cache
def view_script() -> str:
    """The script that draws the views before it, and makes their heads work by keyboard."""
    return (HERE / "attention.js").read_text(encoding="utf-8")


@cache
def view_style() -> str:
    """The style of the views."""
    return (HERE / "attention.css").read_text(encoding="utf-8")


def escaped_json(value: Any) -> str:
    """JSON that cannot contain markup, for a `<script type="application/json">`."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _tokens(patterns: AttentionPatterns, run: str) -> tuple[str, ...]:
    return patterns.clean_tokens if run == "clean" else patterns.corrupt_tokens


def _values(patterns: AttentionPatterns, run: str) -> Float[Tensor, "head query key"]:
    return patterns.clean if run == "clean" else patterns.corrupt


def _shown(tokens: Sequence[str]) -> list[str]:
    # circuitsvis sets a token as innerHTML; an empty one would collapse.
    return [token.replace("<", "‹").replace(">", "›") or "∅" for token in tokens]


def _numbers(values: Float[Tensor, "..."]) -> Any:
    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(one) for one in value]
        return round(value, DECIMALS)

    return rounded(values.tolist())


def _stage(label: str, component: str, props: Mapping[str, Any]) -> str:
    data = escaped_json({"component": component, "props": dict(props)})
    return (
        f'<div class="dfa-stage"><p class="dfa-label">{escape(label)}</p>'
        f'<div class="dfa-drawing"></div><script type="application/json">{data}</script></div>'
    )


def _view(title: str, alt: str, parts: Sequence[str], kind: str = "dfa-heads") -> AttentionView:
    body = (
        f'<div class="dfa-attention {kind}" role="group" aria-label="{escape(alt)}">\n'
        f'<p class="dfa-title" role="heading" aria-level="3">{escape(title)}</p>\n'
        + "\n".join(parts)
        + "\n</div>"
    )
    return AttentionView(body, alt)


def _most(patterns: AttentionPatterns, run: str, number: int, position: int) -> tuple[str, float]:
    """The token that a head attends to most from a position, and its weight."""
    weights = _values(patterns, run)[number, position]
    best = int(weights.argmax())
    return f"“{_shown(_tokens(patterns, run))[best].strip()}” ({best})", float(weights[best])


def _strongest(patterns: AttentionPatterns) -> str:
    position = len(patterns.clean_tokens) - 1
    each = [_most(patterns, "clean", number, position) for number in range(len(patterns.heads))]
    number = max(range(len(each)), key=lambda one: each[one][1])
    token, weight = each[number]
    return f"{patterns.heads[number]} attends most to {token}, with weight {weight:.2f}"


def _table(patterns: AttentionPatterns, position: int) -> str:
    rows = []
    for number, head in enumerate(patterns.heads):
        cells = [f'<th scope="row">{escape(head)}</th>']
        for run in RUNS:
            token, weight = _most(patterns, run, number, position)
            cells.append(f"<td>{escape(token)}</td><td>{weight:.2f}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    headings = "".join(
        f'<th scope="col">{run}: most attended</th><th scope="col">weight</th>' for run in RUNS
    )
    return (
        f"<details><summary>As a table: what each head attends to most from position {position}"
        f'</summary><div class="dfa-scroll"><table><thead><tr><th scope="col">head</th>{headings}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )
