"""The package's own rules: imports flow one way, and only models/ knows TransformerLens."""

from __future__ import annotations

import ast
from pathlib import Path

import dfa_tl

PACKAGE = Path(dfa_tl.__file__).parent
# Each layer imports only what stands before it.
LAYERS = (
    ("errors",),
    ("nodes", "files"),
    ("scores",),
    ("tasks",),
    ("models",),
    ("attribution", "alignment", "evaluation"),
    ("memory",),
    ("study",),
    ("viz",),
    ("cli",),
    ("__init__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def modules():
    for path in PACKAGE.rglob("*.py"):
        yield path, path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_has_a_layer():
    assert {layer for _, layer in modules()} <= set(RANK)


def test_imports_flow_one_way():
    for path, layer in modules():
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "dfa_tl" and len(parts) > 1 and parts[1] in RANK:
                other = parts[1]
                assert other == layer or RANK[other] < RANK[layer], f"{path.name} imports {name}"


def test_only_models_knows_transformer_lens():
    for path, layer in modules():
        if any(name.split(".")[0] == "transformer_lens" for name in imports(path)):
            assert layer == "models", path


def test_viz_never_runs_a_model():
    for path, layer in modules():
        if layer == "viz":
            assert not any(name.startswith("dfa_tl.models") for name in imports(path)), path


def test_public_names():
    assert set(dfa_tl.__all__) <= set(dir(dfa_tl))
