"""Settings: read from YAML, and checked one by one.

YAML here is YAML 1.1 as PyYAML reads it, plus the numbers of YAML 1.2: `1e-2` is a number, not a
text.
"""

from __future__ import annotations

import operator
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import yaml

from dfa_tl.arguments import fits
from dfa_tl.display import shown
from dfa_tl.errors import ConfigError, FileFormatError
from dfa_tl.io.atomic import user_path

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Precisions of a model's weights, by PyTorch's names."""
AUTO = "auto"
"""The precision that the hardware is fastest in: see `dfa_tl.models.placement`."""
MOST_SEED = 2**63 - 1
"""Largest seed that torch's generators take."""


class _Loader(yaml.SafeLoader):
    """Loads plain values only, like `yaml.safe_load`."""


# Tried after the types of YAML 1.1, whose floats need a point and a signed exponent.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, what: str) -> Any:
    """The content of a YAML text. Raises a `FileFormatError` whose subject is `what`."""
    try:
        return yaml.load(text, _Loader)
    # A date such as 2024-99-99 is a plain ValueError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FileFormatError(f"{what} cannot be read as YAML: {error}") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, which may be empty.

    Raises:
        FileFormatError: no such file, not YAML, or no `name: value` lines.
    """
    try:
        text = user_path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} cannot be read as YAML: {error}") from error
    settings = parse_yaml(text, str(path))
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise FileFormatError(f"{path} holds no settings; expected 'name: value' lines")
    return settings


def check_names(settings: Mapping[str, Any], kind: type, owner: str) -> None:
    """Raise `ConfigError` unless every name is a field of the dataclass `kind`."""
    known = [f.name for f in fields(kind)]
    unknown = [str(name) for name in settings if name not in known]
    if unknown:
        raise ConfigError(f"unknown settings {sorted(unknown)}; {owner} has {', '.join(known)}")


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> None:
    """Raise `ConfigError` unless `value` is a finite number within the limits."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Whole numbers are not converted: those beyond the largest float cannot be.
    if (
        number
        and abs(value) <= sys.float_info.max
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
    ):
        return
    limits = [
        f"{word} {limit:g}"
        for word, limit in (("above", above), ("of at least", least), ("below", below))
        if limit is not None
    ]
    raise ConfigError(f"{name}={shown(value)}: must be a number {' and '.join(limits)}".rstrip())


def check_whole(name: str, value: object, least: int, otherwise: str = "") -> None:
    """Raise `ConfigError` unless `value` is a whole number of at least `least`.

    Args:
        name: The setting.
        value: Its value.
        least: The smallest that makes sense.
        otherwise: What else the setting may be, for the message.
    """
    if not _is_whole(value, least, MOST_SEED):
        raise ConfigError(
            f"{name}={shown(value)}: must be a whole number of at least {least}{otherwise}"
        )


def whole_number(name: str, value: object, least: int, otherwise: str = "") -> int:
    """`value` as an `int`; numpy's integers are accepted. Arguments are those of `check_whole`.

    Raises:
        ConfigError: it is not a whole number (True and False are not), or below `least`.
    """
    number = operator.index(cast("int", value)) if fits(value, int) else value
    check_whole(name, number, least, otherwise)
    return cast("int", number)


def check_seed(name: str, value: object) -> None:
    """Raise `ConfigError` unless `value` is a seed that every generator takes."""
    if not _is_whole(value, 0, MOST_SEED):
        raise ConfigError(f"{name}={shown(value)}: must be a whole number from 0 to {MOST_SEED}")


def check_choice(name: str, value: object, known: Collection[str]) -> None:
    """Raise `ConfigError` unless `value` is one of the names in `known`."""
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{name}={shown(value)}: choose one of {', '.join(known)}")


def check_switch(name: str, value: object) -> None:
    """Raise `ConfigError` unless `value` is True, False or None."""
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"{name}={shown(value)}: must be True, False or None (the default)")


def listed(given: Any) -> tuple[Any, ...]:
    """One value, or several, as a tuple."""
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        return (given,)
    return tuple(given)


def names(name: str, given: object, *, may_be_empty: bool = False) -> tuple[str, ...]:
    """One name, or several different ones. Raises `ConfigError` for anything else."""
    values = listed(given)
    if not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name}: expected names, got {shown(given)}")
    return _different(name, values, may_be_empty)


def choices(
    name: str, given: object, known: Collection[str], *, may_be_empty: bool = False
) -> tuple[str, ...]:
    """One name, or several different ones, all of them `known`."""
    chosen = names(name, given, may_be_empty=may_be_empty)
    if unknown := [value for value in chosen if value not in known]:
        raise ConfigError(
            f"{name}: {shown(unknown[0])} is unknown, choose among {', '.join(known)}"
        )
    return chosen


def whole_numbers(name: str, given: object, *, may_be_empty: bool = False) -> tuple[int, ...]:
    """One whole number from 1, or several different ones. Raises `ConfigError` otherwise."""
    numbers = listed(given)
    if not all(_is_whole(number, 1, MOST_SEED) for number in numbers):
        raise ConfigError(f"{name}: expected whole numbers of at least 1, got {shown(given)}")
    return _different(name, numbers, may_be_empty)


def seeds(name: str, given: object) -> tuple[int, ...]:
    """Different seeds. Raises `ConfigError` for anything else.

    A single number is refused: it could mean a seed, or how many seeds.
    """
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 1000:
        several = list(range(max(given, 2)))
        raise ConfigError(f"{name}={given}: give a list, [{given}] or, for several, {several}")
    numbers = listed(given)
    for number in numbers:
        check_seed(name, number)
    return _different(name, numbers, may_be_empty=False)


def _is_whole(value: Any, least: int, most: int | None = None) -> bool:
    # True and False are ints to Python.
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and value >= least and (most is None or value <= most)


def _different(name: str, values: tuple[Any, ...], may_be_empty: bool) -> tuple[Any, ...]:
    if len(set(values)) < len(values) or (not values and not may_be_empty):
        raise ConfigError(f"{name}: give at least one value, each once, got {shown(list(values))}")
    return values
