"""The table of architectures in docs/families.md, made of what the tests found.

    python -m pytest -m "slow or not slow" tests/test_architectures.py --families-table

A test that records the property `outcome` (architecture, variant, outcome) fills a row under the
major version of TransformerLens that is installed. Outcomes of both majors are kept in
tests/families.json, so that several runs fill one table; a test that fails leaves `failed` there.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

RECORD = Path(__file__).parent / "families.json"
TABLE = Path(__file__).parents[1] / "docs" / "families.md"
MAJOR = version("transformer-lens").split(".")[0]
# architecture, with its variant -> TransformerLens major -> outcome
Record = dict[str, dict[str, str]]
FAILED = "failed"
OUTCOMES: dict[str, str] = {}
"""Of this run."""

HEAD = """\
# Supported architectures

Every architecture that TransformerLens knows is either right or refused when it is loaded. The
tables show what the test suite found.

**Right** means: on a small model with random weights, made from the architecture's own Transformers
configuration, the logits, the scores of `nap` and `exact` and a faithfulness curve equal those of
plain Hugging Face modules and autograd to 1e-4, for prompts of unequal length in one batch and one
at a time, from token ids and from text, with a tokenizer that has a BOS token and with one that has
none; and `check()` passes. **Refused** means that `load_model` raises a `ModelError` with the
reason. "No decoder of text alone" and "Transformers has no code of its own for it" follow from a
model's configuration, before weights are read: for these the tests give `load_model` a folder with
the configuration only. The last column names the major versions of TransformerLens with that
outcome.

Where a norm follows attention, heads are read and patched before the output projection, as in all
models. That is exact, but the heads of a layer do not write to the residual stream separately: the
norm of their sum is added to it. Where a norm follows an MLP, the MLP is read and patched after
that norm. Multipliers and norms of the embedding do not change a node's score.

[Use your own model](how-to/own_model.md) describes how every model is checked when it is loaded.

Made by `python -m pytest -m "slow or not slow" tests/test_architectures.py --families-table`, run
once with each major version of TransformerLens; not edited by hand.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--families-table", action="store_true", help="write docs/families.md")


def pytest_configure(config: pytest.Config) -> None:
    OUTCOMES.clear()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcome = dict(report.user_properties).get("outcome")
    if report.when == "call" and outcome is not None:
        name, variant, found = outcome
        OUTCOMES[f"{name} ({variant})" if variant else name] = found


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not session.config.getoption("--families-table") or hasattr(session.config, "workerinput"):
        return
    before = read_record()
    record: Record = {}
    for label in sorted({*before, *OUTCOMES}, key=str.lower):
        now = {MAJOR: OUTCOMES[label]} if label in OUTCOMES else {}
        record[label] = dict(sorted((before.get(label, {}) | now).items()))
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    TABLE.write_text(render(record), encoding="utf-8")


def read_record() -> Record:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def render(record: Record) -> str:
    """The page: the right ones, then the refused ones by reason."""
    right, refused = [], {}
    for label, majors in record.items():
        for outcome in dict.fromkeys(majors.values()):
            versions = ", ".join(major for major, each in majors.items() if each == outcome)
            verdict, _, remark = outcome.partition(": " if outcome.startswith("refused") else "; ")
            if verdict == "right":
                right.append(f"| {label} | {remark} | {versions} |")
            else:
                refused.setdefault(remark, []).append(f"{label}: {versions}")
    lines = [
        HEAD,
        f"## Right: {len(right)}",
        "",
        "| architecture | remark | TransformerLens |",
        "|---|---|---|",
        *right,
        "",
        f"## Refused: {sum(map(len, refused.values()))}",
        "",
        "| reason | architecture: TransformerLens |",
        "|---|---|",
        *(f"| {reason} | {'; '.join(labels)} |" for reason, labels in sorted(refused.items())),
    ]
    return "\n".join(lines) + "\n"
