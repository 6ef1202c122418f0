"""The documentation: its examples run, its links lead somewhere, what it names is there."""

from __future__ import annotations

import ast
import doctest
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import dfa_tl
import dfa_tl.report
import dfa_tl.study
import dfa_tl.viz
from dfa_tl.cli import app
from dfa_tl.tasks.registry import WORDS

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("**/*.md")])
PAGES = [page for page in PAGES if page.parent.name != "results"]  # parts of a page
FENCE = re.compile(r"^```(\{?[\w-]*\}?)[^\n]*\n(.*?)^```$", re.M | re.S)
FOLDERS = "benchmarks|dfa_tl|docs|examples|tests"
SMALL_STUDY = """
pairs: [{source: toy-small, target: toy-large}]
tasks: [arithmetic_addition, ioi]
methods: [nap]
regimes: [zero-shot]
controls: [uniform_s]
few_pairs_methods: []
train_pairs: 4
test_pairs: 4
grids: [mib]
variants: {default: {epochs: 1}}
resamples: 50
"""
COMMANDS: Any = typer.main.get_command(app)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *kinds: str) -> list[str]:
    return [body for name, body in FENCE.findall(page.read_text()) if name in kinds]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


every_page = pytest.mark.parametrize("page", PAGES, ids=named)


class Rounded(doctest.OutputChecker):
    """Decimal numbers may differ by one in the last digit shown."""

    number = re.compile(r"\d+\.\d+")

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        expected = iter(self.number.findall(want))

        def settled(match: re.Match[str]) -> str:
            text = next(expected, "")
            unit = 10.0 ** -len(text.partition(".")[2])
            return text if text and abs(float(text) - float(match[0])) < 1.5 * unit else match[0]

        return super().check_output(want, self.number.sub(settled, got), optionflags)


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        ("CPR 0.66\n", "CPR 0.67\n", True),
        ("CPR 0.66\n", "CPR 0.68\n", False),
        ("0.10 0.20\n", "0.10\n", False),
        ("0.10\n", "0.10 0.20\n", False),
        ("top m2 +12.3\n", "top m3 +12.3\n", False),
    ],
)
def test_how_examples_are_compared(want, got, same):
    assert Rounded().check_output(want, got, 0) == same


def run_examples(source: str, names: dict[str, Any], title: str) -> None:
    """Run a text's examples, which know `names`."""
    test = doctest.DocTestParser().get_doctest(source, names, title, None, 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(Rounded(), optionflags=doctest.ELLIPSIS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # models so small gain nothing from more
    try:
        runner.run(test, out=report.append)
    finally:
        torch.set_num_threads(threads)
    assert runner.failures == 0, "".join(report)
    assert runner.tries > 0


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")  # as users run
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "pycon")], ids=named)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_examples("\n".join(blocks(page, "pycon")), {}, named(page))


def test_the_readme_has_the_numbers_of_the_tables():
    text = (ROOT / "README.md").read_text()
    cell = r"\*{0,2}(.+?)\*{0,2}"
    found = re.findall(rf"^\| {cell} \| {cell} \| {cell} \|$", text, re.M)
    shown = [row for row in found if re.fullmatch(r"[\d.]+ \[.+\]", row[1])]
    circuits = ("gold", "target_only", "zero-shot", "uniform_s", "random_W")
    measured = (ROOT / "docs" / "results" / "real_levels.md").read_text()
    for (_, cpr, cmd), circuit in zip(shown, circuits, strict=True):
        (row,) = re.findall(rf"\| {circuit} \| (\S+) \| (\[.+?\]) \| (\S+) \| (\[.+?\])", measured)
        assert (cpr, cmd) == (f"{row[0]} {row[1]}", f"{row[2]} {row[3]}")
    bundled = text.partition("**On the bundled models**")[2].partition("The source helps")[0]
    numbers = re.findall(r"0\.\d\d", bundled)
    assert len(numbers) == 7
    levels = (ROOT / "docs" / "results" / "levels.md").read_text()
    assert all(number in levels for number in numbers)
    larger = text.partition("**From a smaller model")[2].partition("The\nsource adds")[0]
    numbers = re.findall(r"\d\.\d\d", larger)
    assert len(numbers) == 6
    levels = (ROOT / "docs" / "results" / "larger_levels.md").read_text()
    assert all(number in levels for number in numbers)
    for prefix, helps in (("", "+0.20 [+0.02, +0.34]"), ("real_", "+0.06 [-0.05, +0.17]"),
                          ("larger_", "+0.08 [-0.08, +0.33]")):  # fmt: skip
        assert helps in text
        overall = (ROOT / "docs" / "results" / f"{prefix}overall.md").read_text()
        assert f"| uniform_s | {helps.replace(' [', ' | [')}" in overall


@pytest.mark.slow
def test_own_task_runs_from_nothing_to_a_figure(tmp_path):
    """The commands of the page on the bundled models, as printed, on the pairs of the page."""
    page = ROOT / "docs" / "how-to" / "own_task.md"
    (tmp_path / "pairs.csv").write_text(blocks(page, "none")[0])
    commands = [line for line in shell_lines(page) if "--task pairs.csv" in line]
    assert len(commands) == 3
    program = [sys.executable, "-c", "from dfa_tl.cli import app; app()"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for command in commands:
        done = subprocess.run(
            [*program, *command.split()[1:]], cwd=tmp_path, capture_output=True, text=True,
            timeout=1800, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    (expected,) = blocks(page, "text")
    assert Rounded().check_output(expected, done.stdout[: done.stdout.index("Next,")], 0)
    for name in ("curves.html", "circuit.html"):
        assert (tmp_path / "out" / "pairs" / name).stat().st_size > 1e6


def test_the_words_of_the_bundled_models_are_listed():
    page = (ROOT / "docs" / "how-to" / "own_task.md").read_text()
    section = page.partition("## The words of the bundled models")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| [^|]+ \| (.+) \|$", section, re.M)[1:]
    listed = re.findall(r"[A-Za-z]+|\d+", " ".join(cells).replace("for sums and differences", ""))
    assert {*listed} - {"more"} - WORDS == {"12", "25"} - WORDS
    assert f"know {len(WORDS)} words" in section


def reference() -> dict[str, Any]:
    """Public names, and the functions of public classes."""
    found = {name: getattr(dfa_tl, name) for name in dfa_tl.__all__}
    members = {
        f"{name}.{member}": value
        for name, owner in found.items()
        if isinstance(owner, type)
        for member, value in vars(owner).items()
    }
    return {name: value for name, value in (found | members).items() if callable(value)}


WITH_EXAMPLE = {name: one for name, one in reference().items() if ">>> " in (one.__doc__ or "")}


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_examples_of_the_reference_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {each: getattr(dfa_tl, each) for each in dfa_tl.__all__}
    run_examples(inspect.getdoc(WITH_EXAMPLE[name]) or "", names, name)


def test_what_everyone_calls_has_an_example():
    verbs = "load_model load_task read_pairs attribute align evaluate run_study".split()
    nouns = "NodeScores PairDataset Alignment.transfer".split()
    assert {*verbs, *nouns} <= set(WITH_EXAMPLE)


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not link.startswith("http")]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


@every_page
def test_links_lead_somewhere(page):
    assert [link for link in links(page) if not leads_somewhere(page, link)] == []


def paths(page: Path) -> list[str]:
    words = " ".join([*spans(page), *blocks(page, "bash")]).split()
    return [word for word in words if re.fullmatch(rf"({FOLDERS})/[\w./-]+(::\w+)?", word)]


def is_there(path: str) -> bool:
    file, _, test = path.partition("::")
    if not (ROOT / file).exists() or not test:
        return (ROOT / file).exists()
    nodes = ast.walk(ast.parse((ROOT / file).read_text()))
    return test in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@every_page
def test_files_and_tests_are_there(page):
    assert [path for path in paths(page) if not is_there(path)] == []


def modules(page: Path) -> list[str]:
    code = "\n".join([*spans(page), *blocks(page, "python", "pycon", "bash", "{eval-rst}")])
    return re.findall(r"\bdfa_tl(?:\.\w+)+", re.sub(r"[\w./-]+\.(?:py|toml|md)\b", "", code))


@every_page
def test_dotted_names_are_there(page):
    for name in modules(page):
        value: Any = dfa_tl
        for part in name.split(".")[1:]:
            if not hasattr(value, part):
                import_module(f"{value.__name__}.{part}")
            value = getattr(value, part)


def shell_lines(page: Path) -> list[str]:
    whole = [block.replace("\\\n", " ") for block in blocks(page, "bash")]
    lines = [line for block in whole for line in block.splitlines()]
    lines += [span for span in spans(page) if span.startswith(("python ", "dfa-tl "))]
    return [part.strip() for line in lines for part in line.split("&&") if part.strip()]


def unknown_parts(line: str) -> list[str]:
    """The options, or the command itself, that are not there."""
    words = line.split()
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    if words[0] == "dfa-tl":
        named = [word for word in words[1:2] if not word.startswith("-")]
        command = COMMANDS.commands.get(named[0]) if named else COMMANDS
        if command is None:
            return named
        known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        return [option for option in options if option not in known | {"--help"}]
    if words[0] == "python" and words[1].endswith(".py"):
        script = (ROOT / words[1]).read_text()
        return [option for option in options if f'"{option}"' not in script]
    # What other tools take is their own.
    return [word for word in words[:1] if word not in ("python", "pre-commit", "hf", "dask")]


@every_page
def test_commands_and_their_options_are_there(page):
    assert {line: found for line in shell_lines(page) if (found := unknown_parts(line))} == {}


@every_page
def test_python_blocks_are_python_and_import_what_is_there(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dfa_tl"):
                module = import_module(node.module or "")
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def test_the_reference_has_every_public_name():
    reference = "\n".join(blocks(ROOT / "docs" / "api.md", "{eval-rst}"))
    listed = set(re.findall(r"^\.\. auto\w+:: dfa_tl\.(?:\w+\.)*(\w+)$", reference, re.M))
    assert "viz" in listed  # the whole of it, by :members: and __all__
    public = {*dfa_tl.__all__, *dfa_tl.study.__all__, *dfa_tl.report.__all__}
    assert public - listed == set()


def test_every_measured_table_is_on_a_page():
    pages = "".join(path.read_text() for path in PAGES)
    tables = {path.name for path in (ROOT / "docs" / "results").glob("*.md")}
    assert tables == set(re.findall(r"\{include\} (?:\.\./)?results/(\S+)", pages))


@pytest.mark.slow
def test_the_slurm_script_runs_without_slurm(tmp_path):
    pytest.importorskip("submitit")
    (tmp_path / "study.yaml").write_text(SMALL_STUDY)
    script = [sys.executable, str(ROOT / "docs" / "slurm_study.py"), "study.yaml"]
    done = subprocess.run(
        [*script, "--out", "runs", "--cluster", "local", "--pieces", "1"], cwd=tmp_path,
        capture_output=True, text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "tables" / "source_effect.md").is_file()
