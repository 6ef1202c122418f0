"""`study.json`: what the study in a folder is, checked when it is read.

format, config, models (a hash of each), data (a hash of each split of each task that is not
generated), code (what identifies the code).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dfa_tl.display import shown
from dfa_tl.errors import FileFormatError
from dfa_tl.io.atomic import readable
from dfa_tl.io.strict_json import parse_json
from dfa_tl.study.config import StudyConfig
from dfa_tl.study.jobs import FORMAT

MAX_BYTES = 2**24
"""Largest description that is read, some thousand times a usual one."""


class Description(NamedTuple):
    """What decides a study's jobs; the arguments of `plan`."""

    config: StudyConfig
    model_hashes: dict[str, str]
    data_hashes: dict[str, dict[str, str]]
    code: str


def read_description(path: Path) -> Description:
    """What `study.json` says.

    Raises:
        FileFormatError: no such file, or one that does not describe a study.
    """
    try:
        readable(path, "the description of a study", MAX_BYTES)
        content = _dictionary("the file", parse_json(path.read_bytes(), "it"))
        if content["format"] != FORMAT:
            raise FileFormatError(f"format {shown(content['format'])}, expected {FORMAT}")
        config = StudyConfig.from_dict(_dictionary("config", content["config"]))
        models = [name for pair in config.pairs for name in (pair.source, *pair.via, pair.target)]
        splits = {
            task: _hashes(f"data of {shown(task)}", of_task, ("train", config.test_split))
            for task, of_task in _dictionary("data", content["data"]).items()
        }
        if not isinstance(content["code"], str):
            raise FileFormatError(f"code must be a text, got {shown(content['code'])}")
        hashes = _hashes("models", content["models"], models)
        return Description(config, hashes, splits, content["code"])
    except KeyError as error:
        raise FileFormatError(f"{path} does not describe a study: it lacks {error}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path} does not describe a study: {error}") from error


def _hashes(what: str, found: Any, names: Iterable[str]) -> dict[str, str]:
    """`found`, a text for each of `names` at least."""
    given = _dictionary(what, found)
    if lacking := [name for name in names if name not in given]:
        raise FileFormatError(f"{what} lacks {shown(lacking[0])}")
    if not all(isinstance(value, str) for value in given.values()):
        raise FileFormatError(f"{what} must have a text for each name, got {shown(given)}")
    return given


def _dictionary(what: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise FileFormatError(f"{what} must be a dictionary, got {shown(found)}")
    return found
