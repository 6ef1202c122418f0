"""Standard JSON.

A number that is NaN or infinite is written as null. NaN and Infinity are refused in files of this
package and accepted in those of other programs, since many libraries write them. An object that has
a key twice is always refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from dfa_tl.display import shown
from dfa_tl.errors import FileFormatError


def json_bytes(
    content: object, what: str, *, indent: int | None = None, sort_keys: bool = True
) -> bytes:
    """`content` as JSON; numbers that are NaN or infinite become null.

    Raises:
        FileFormatError: `content` holds something that JSON cannot represent.
    """
    try:
        text = json.dumps(_strict(content), sort_keys=sort_keys, indent=indent, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FileFormatError(
            f"{what} cannot be written as JSON ({error}): keep to text, numbers, lists and "
            "dictionaries with text as keys"
        ) from error


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _strict(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(each) for each in value]
    return value


def parse_json(content: str | bytes, what: str, *, strict: bool = True) -> Any:
    """What a JSON text holds, every key once.

    Args:
        content: The text.
        what: The message's subject.
        strict: Refuse NaN and infinity, which are not JSON; False for files of other programs.

    Raises:
        FileFormatError: the text is not JSON, is nested too deep, or has a key twice.
    """
    constant = _no_constant if strict else None
    try:
        return json.loads(content, object_pairs_hook=without_doubles, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{what} is not valid JSON: {error}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def without_doubles(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON text; raises `ValueError` if a key occurs twice."""
    found = dict(items)
    if len(found) < len(items):
        seen: set[str] = set()
        twice = next(key for key, _ in items if key in seen or seen.add(key))
        raise ValueError(f"the key {shown(twice)} occurs twice")
    return found
