"""The table of families and features in docs/families.md, made of what the tests did.

    python -m pytest tests/test_families.py --families-table docs/families.md

Each test marked `feature(name)` with a parameter `family` adds its outcome under the major version
of TransformerLens that is installed. Outcomes of both majors are kept in tests/families.json, so
that two runs fill one table.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

RECORD = Path(__file__).parent / "families.json"
TABLE = Path(__file__).parents[1] / "docs" / "families.md"
ABSENT = "does not exist"
# family -> feature -> TransformerLens major -> outcome
Record = dict[str, dict[str, dict[str, str]]]
KEY = "family and feature"
OUTCOMES: list[tuple[int, str, str, str]] = []
"""Of this run: number of the test, family, feature, outcome."""

HEAD = """\
# Families of models

What the test suite found on small random-weight models of each family (3 layers, built from the
family's own Transformers configuration): scores, curves and soft masks are compared with plain
Hugging Face modules and autograd, one unpadded prompt at a time. A cell says on which major
version of TransformerLens the tests of a feature had which outcome; features of an architecture
are tested by switching them off in the plain model, which must then differ.

Gemma-2 has a norm between a sub-layer and the residual stream. Its MLPs are read and patched after
that norm, where they write to the stream. Its heads are read and patched before the output
projection as everywhere, which is exact for attribution and patching, but the writes of a layer's
heads do not add up singly: the norm of their sum is what is added. `NodeModel.check` says so.

Made by `python -m pytest tests/test_families.py --families-table docs/families.md`, run once with
each version; not edited by hand.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--families-table", type=Path, help="write the table of families here")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "feature(name): a row of docs/families.md")
    OUTCOMES.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    place = feature_of(item)
    if place is not None and report.when == "call":
        # Properties reach the main process when tests run in several.
        report.user_properties.append((KEY, (item.session.items.index(item), *place)))
    return report


def feature_of(item: pytest.Item) -> tuple[str, str] | None:
    """Family and feature of a test, if it is one of the table."""
    marker = item.get_closest_marker("feature")
    if marker is None or not isinstance(item, pytest.Function):
        return None
    return item.callspec.params["family"], marker.args[0]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    place = dict(report.user_properties).get(KEY)
    if place is None or report.when != "call":
        return
    absent = report.skipped and ABSENT in str(report.longrepr)
    OUTCOMES.append((*place, ABSENT if absent else report.outcome))


def pytest_sessionfinish(session: pytest.Session) -> None:
    table = session.config.getoption("--families-table")
    if table is None or hasattr(session.config, "workerinput"):
        return
    major = version("transformer-lens").split(".")[0]
    before, record = read_record(), Record()
    for _, family, feature, outcome in sorted(OUTCOMES):
        majors = before.get(family, {}).get(feature, {}) | {major: outcome}
        record.setdefault(family, {})[feature] = dict(sorted(majors.items()))
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    table.write_text(render(record), encoding="utf-8")


def read_record() -> Record:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def render(record: Record) -> str:
    """The page: features down, families across."""
    families = list(record)
    features = list(next(iter(record.values())))
    lines = [HEAD, f"| feature | {' | '.join(families)} |", "|---" * (len(families) + 1) + "|"]
    for feature in features:
        cells = [_cell(record[family][feature]) for family in families]
        lines.append(f"| {feature} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(outcomes: dict[str, str]) -> str:
    """`passed: 3, 4`, or each outcome with the majors that had it."""
    if set(outcomes.values()) == {ABSENT}:
        return ABSENT
    majors: dict[str, list[str]] = {}
    for major, outcome in outcomes.items():
        majors.setdefault(outcome, []).append(major)
    return "; ".join(f"{outcome}: {', '.join(of)}" for outcome, of in majors.items())
