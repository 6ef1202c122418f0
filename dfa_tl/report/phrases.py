"""Numbers and lists in words, the same in sentences and in tables."""

from __future__ import annotations

from collections.abc import Iterable


def signed(value: float) -> str:
    """Two decimals and a sign; zero has none."""
    text = f"{value:+.2f}".replace("-", "−")
    return text[1:] if float(f"{value:.2f}") == 0 else text


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = list(names)
    return f"{', '.join(first)} and {last}" if first else last


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def counted(n: int, what: str) -> str:
    """`1 task`, `6 tasks`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def arrow(text: str) -> str:
    """A pair's name with an arrow that is read as one."""
    return text.replace("->", "→")
