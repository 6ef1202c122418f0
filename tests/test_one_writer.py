"""Everything that writes goes through `dfa_tl.io.atomic`: no other source file does it itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in ("dfa_tl", "examples", "docs", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
HOME = ROOT / "dfa_tl" / "io" / "atomic.py"
WRITES = frozenset(
    "write_text write_bytes write_html write_image write_json mkdir makedirs touch mkstemp savefig "
    "save_file save_pretrained to_parquet to_feather to_excel to_pickle symlink_to hardlink_to "
    "rename renames".split()
)
TEXTS = frozenset("to_csv to_json to_html to_markdown to_latex".split())
"""Methods that return the text where no file is named first."""
YAML = frozenset("safe_dump dump".split())
"""Functions that return the text where no stream stands second."""
SHUTIL = frozenset(f"shutil.{name}" for name in "copy copy2 copyfile copytree move".split())
ALLOWED = {
    # A result, and a copy of a study, is a folder that is put in its place as a whole.
    ("dfa_tl/study/store.py", "rename"),
    ("dfa_tl/study/folder.py", "rename"),
    ("dfa_tl/analysis/tables.py", "rename"),  # columns of a frame
    ("dfa_tl/analysis/effects.py", "rename"),
    # A graph, and the configuration of plotly's page.
    ("dfa_tl/io/mib.py", "to_json"),
    ("dfa_tl/viz/export.py", "to_html"),
    # A model in a temporary folder.
    ("benchmarks/limits.py", "save_pretrained"),
    ("benchmarks/planted_pair.py", "save_pretrained"),
    ("docs/make_results.py", "rename"),  # columns of a frame
    # The script that trains the bundled models; transformers writes a model's files itself.
    ("dfa_tl/models/bundled/train.py", "save_pretrained"),
}


def written_by(tree: ast.AST) -> list[tuple[int, str]]:
    """Calls in a source file that write, or that write JSON which may not be JSON."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        # The mode of `open(path, mode)` and of `path.open(mode)`.
        of_open = [*node.args[isinstance(node.func, ast.Name) :][:1], given.get("mode")]
        modes = [one.value for one in of_open if isinstance(one, ast.Constant)]
        whole = ast.unparse(node.func)
        if called in WRITES or whole in SHUTIL:
            found.append((node.lineno, called))
        elif called == "open" and any(
            isinstance(mode, str) and set(mode) & set("wax+") for mode in modes
        ):
            found.append((node.lineno, "open"))
        elif (called in TEXTS and node.args) or (called in YAML and node.args[1:]):
            found.append((node.lineno, called))
        elif whole in ("json.dump", "torch.save", "os.open"):
            if whole != "torch.save" or ast.unparse(node.args[1]) != "content":  # a BytesIO
                found.append((node.lineno, whole))
        elif whole == "json.dumps" and ast.unparse(given.get("allow_nan", ast.Constant(1))) != (
            "False"
        ):
            found.append((node.lineno, whole))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_one_module_writes(path):
    if path == HOME:
        return
    name = path.relative_to(ROOT).as_posix()
    found = [
        f"{name}:{line} {call}"
        for line, call in written_by(ast.parse(path.read_text(encoding="utf-8")))
        if (name, call) not in ALLOWED
    ]
    assert not found, "write with dfa_tl.io.atomic.write_file, and JSON with json_bytes"


@pytest.mark.parametrize(
    "line",
    [
        "open('x', 'w')",
        "path.open(mode='ab')",
        "path.write_text('x')",
        "frame.to_csv(path)",
        "json.dump(x, file)",
        "json.dumps(x)",
        "torch.save(x, path)",
        "figure.write_html(path)",
        "os.makedirs(path)",
        "shutil.copy(path, other)",
        "yaml.safe_dump(x, file)",
    ],
)
def test_writing_is_found(line):
    assert written_by(ast.parse(line))


@pytest.mark.parametrize(
    "line",
    [
        "open('x')",
        "path.open('rb')",
        "frame.to_csv(index=False)",
        "json.dumps(x, allow_nan=False)",
        "torch.save(x, content)",
        "write_file(path, b'')",
        "yaml.safe_dump(x)",
        "frame.copy()",
    ],
)
def test_reading_is_not(line):
    assert not written_by(ast.parse(line))
