"""`read_pairs`: your own pairs, from a file or a table.

| field | columns it is read from |
|---|---|
| clean prompt | `clean` |
| corrupt prompt | `corrupt`, `corrupted` |
| right answer | `answer` (text) or `correct_idx` (a token id, as in EAP-IG's files) |
| wrong answer | `wrong_answer` (text) or `incorrect_idx` (a token id) |

Other columns are ignored. Text is taken as it is: a leading space of an answer is kept, and "NaN"
or "None" is a word. A source with faults is not read at all: one error lists every fault.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import ConfigError, DataError, FileFormatError
from dfa_tl.io.atomic import user_path
from dfa_tl.io.strict_json import without_doubles
from dfa_tl.tasks.pairs import OnInvalid, PairDataset
from dfa_tl.tasks.prompt_pair import PromptPair, token_id, valid_text

FIELDS: dict[str, tuple[str, ...]] = {
    "clean": ("clean",),
    "corrupt": ("corrupt", "corrupted"),
    "answer": ("answer", "correct_idx"),
    "wrong_answer": ("wrong_answer", "incorrect_idx"),
}
TOKEN_IDS = ("correct_idx", "incorrect_idx")
NAMES = tuple(name for names in FIELDS.values() for name in names)


@runtime_checkable
class Table(Protocol):
    """A table that pandas understands; a `datasets.Dataset` is one."""

    def to_pandas(self) -> Any:
        """The table as a `pandas.DataFrame`."""
        ...


@checked_arguments
def read_pairs(
    source: str | Path | pd.DataFrame | Table,
    *,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    on_invalid: OnInvalid = "raise",
) -> PairDataset:
    """Prompt pairs from a CSV, JSONL or parquet file, a pandas frame or a `datasets.Dataset`.

    Args:
        source: A path that ends in `.csv`, `.jsonl` or `.parquet`, or a table.
        columns: The source's own names of columns, by the names above, such as
            `{"clean": "prompt", "answer": "label"}`.
        name: The task; by default the file's name, or `pairs`.
        on_invalid: What to do with pairs that a model's tokenizer makes unusable: `raise` or
            `drop`.

    Raises:
        FileFormatError: the file does not exist, or does not hold what its ending says.
        ConfigError: the file is of another kind, or `columns` names a column that does not exist.
        DataError: a column is missing or occurs twice, there are no rows, or cells are empty, not
            text, not token ids, or the same for both answers; rows are counted from 0.

    Example:
        >>> import pandas as pd
        >>> columns = ["prompt", "corrupt", "answer", "wrong"]
        >>> frame = pd.DataFrame([["16 + 14 =", "3 + 11 =", " 30", " 14"]], columns=columns)
        >>> names = {"clean": "prompt", "wrong_answer": "wrong"}
        >>> data = read_pairs(frame, columns=names, name="sums")
        >>> len(data), data.name, data.pairs[0].clean
        (1, 'sums', '16 + 14 =')
    """
    frame, origin = _frame(source)
    taken = _columns(frame, dict(columns or {}), origin)
    if frame.empty:
        raise DataError(f"{origin} has no rows; nothing can be measured on it")
    values: dict[str, list[Any]] = {}
    problems: list[str] = []
    for field, (meaning, column) in taken.items():
        read = _token_id if meaning in TOKEN_IDS else _text
        values[field], found = _read_column(frame[column].tolist(), read)
        problems += [f"{column!r} {problem}" for problem in found]
    same = [
        row
        for row, (right, wrong) in enumerate(
            zip(values["answer"], values["wrong_answer"], strict=True)
        )
        if right is not None and right == wrong
    ]
    if same:
        problems.append(f"answer and wrong answer are equal in {_rows(same)}")
    if problems:
        listed = "\n  ".join(problems)
        raise DataError(f"{origin} cannot be used; rows are counted from 0:\n  {listed}")
    pairs = tuple(PromptPair(*row) for row in zip(*(values[f] for f in FIELDS), strict=True))
    default = Path(source).stem if isinstance(source, (str, Path)) else "pairs"
    return PairDataset(pairs, name=name or default, on_invalid=on_invalid)


def _frame(source: str | Path | pd.DataFrame | Table) -> tuple[pd.DataFrame, str]:
    """The source as a frame, and its name in messages."""
    if isinstance(source, pd.DataFrame):
        return source, "the frame"
    if isinstance(source, (str, Path)):
        return _read_file(user_path(source)), str(source)
    if isinstance(source, Mapping):
        raise ConfigError(
            f"read_pairs takes one table, not several: choose a split ({', '.join(source)})"
        )
    if not isinstance(source, Table):
        raise ConfigError(
            "read_pairs takes a path, a pandas frame or a datasets.Dataset, not "
            f"{type(source).__name__}"
        )
    return source.to_pandas(), f"the {type(source).__name__}"


def _read_file(path: Path) -> pd.DataFrame:
    if path.suffix not in READERS:
        raise ConfigError(
            f"{path}: unknown kind of file {path.suffix!r}; choose one of {', '.join(READERS)}"
        )
    if not path.is_file():
        raise FileFormatError(f"no file {path}")
    if path.stat().st_size == 0:
        raise FileFormatError(f"{path} is empty")
    return READERS[path.suffix](path)


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FileFormatError(f"{path}, line {line}: not UTF-8; save it as UTF-8") from error


def _read_csv(path: Path) -> pd.DataFrame:
    # Not pandas: if every row has a field too many, it silently takes the first as an index.
    lines = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        for row in lines:
            if rows and row and len(row) != len(rows[0]):
                raise FileFormatError(
                    f"{path}, line {lines.line_num}: {len(row)} fields, the header has "
                    f"{len(rows[0])}; quote texts that contain a comma"
                )
            rows += [row] if row else []
    except csv.Error as error:
        raise FileFormatError(f"{path}, line {lines.line_num}: not CSV ({error})") from error
    return pd.DataFrame(rows[1:], columns=rows[0] if rows else [], dtype=object)


def _read_jsonl(path: Path) -> pd.DataFrame:
    records = []
    # Not splitlines(), which also splits at the line separators that JSON strings may hold.
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, object_pairs_hook=without_doubles)
        except json.JSONDecodeError as error:
            raise FileFormatError(
                f"{path}, line {number}: not JSON ({error.msg}, column {error.colno}); each line "
                "must be one JSON object"
            ) from error
        except (ValueError, RecursionError) as error:  # a key twice, a number too long, too deep
            raise FileFormatError(f"{path}, line {number}: not a row of pairs: {error}") from error
        if not isinstance(record, dict):
            raise FileFormatError(
                f"{path}, line {number}: a {type(record).__name__}, not an object"
            )
        records.append(record)
    return pd.DataFrame(records, dtype=object)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise FileFormatError(
            f"{path} cannot be read as parquet ({error}); it may be truncated, write it again"
        ) from error


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _columns(frame: pd.DataFrame, given: dict[str, str], origin: str) -> dict[str, tuple[str, str]]:
    """For each field, what its column means (a name of `NAMES`) and the column."""
    there = [str(column) for column in frame.columns]
    if unknown := [key for key in given if key not in NAMES]:
        raise ConfigError(f"columns: unknown name {unknown[0]!r}; choose one of {', '.join(NAMES)}")
    if missing := [column for column in given.values() if column not in there]:
        raise ConfigError(
            f"columns: {origin} has no column {missing[0]!r}; it has {', '.join(there)}"
        )
    taken: dict[str, tuple[str, str]] = {}
    problems = []
    for field, names in FIELDS.items():
        found = [(name, given[name]) for name in names if name in given]
        found = found or [(name, name) for name in names if name in there]
        if not found:
            problems.append(f"no column {' or '.join(map(repr, names))}")
        elif len(found) > 1 or there.count(found[0][1]) > 1:
            twice = " and ".join(repr(column) for _, column in found)
            problems.append(f"more than one column for {field} ({twice})")
        else:
            taken[field] = found[0]
    if problems:
        raise DataError(
            f"{origin}: {'; '.join(problems)}. It has the columns {', '.join(there)}; rename "
            'them, or in Python give read_pairs(columns={"clean": "your_name"})'
        )
    return taken


def _read_column(cells: list[Any], read: Callable[[Any], str | int]) -> tuple[list[Any], list[str]]:
    """The cells as values, None for those that cannot be read, and a phrase for each problem."""
    values: list[Any] = []
    failed: dict[str, list[int]] = {}
    for row, cell in enumerate(cells):
        try:
            values.append(read(cell))
        except ValueError as error:
            values.append(None)
            failed.setdefault(str(error), []).append(row)
    return values, [f"{problem} in {_rows(rows)}" for problem, rows in failed.items()]


def _text(cell: Any) -> str:
    if _missing(cell):
        raise ValueError("is empty")
    if not isinstance(cell, str):
        raise ValueError(
            f"is not text but {type(cell).__name__} (token ids belong in columns named "
            f"{' and '.join(TOKEN_IDS)})"
        )
    return valid_text(cell)


def _token_id(cell: Any) -> int:
    if _missing(cell):
        raise ValueError("is empty")
    found = -1
    with suppress(ValueError):
        if isinstance(cell, str):
            found = int(cell) if re.fullmatch(r"\s*[0-9]{1,18}\s*", cell) else -1
        elif isinstance(
            cell, float
        ):  # pandas turns whole numbers into floats where cells are empty
            found = int(cell) if cell.is_integer() else -1
        else:
            found = token_id(cell)
    if not 0 <= found < 2**63:
        raise ValueError("is not a token id (a whole number from 0)")
    return found


def _missing(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def _rows(rows: list[int]) -> str:
    some = ", ".join(map(str, rows[:10]))
    return f"row{'s' if len(rows) > 1 else ''} {some}" + (
        f" and {len(rows) - 10} more" if len(rows) > 10 else ""
    )
