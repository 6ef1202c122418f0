"""The package's own rules: imports flow one way, and only models/ knows TransformerLens."""

from __future__ import annotations

import ast
from pathlib import Path

import dfa_tl

PACKAGE = Path(dfa_tl.__file__).parent
# Each layer imports only what stands before it.
LAYERS = (
    ("errors", "display", "model_names", "passes", "regimes", "seeds"),
    ("arguments",),
    ("nodes", "pool", "registry"),
    ("io",),
    ("settings",),
    ("formats", "hub"),
    ("scores",),
    ("tasks",),
    ("models",),
    ("attribution", "alignment", "evaluation"),
    ("controls",),
    ("memory",),
    ("viz",),
    ("report",),
    ("study",),
    ("cli",),
    ("__init__",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Figures and the report take a study's results as they come, and may only name their type.
NAMES_THE_TYPE = {("viz", "study"), ("report", "study")}


class WithoutTypeChecking(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.If | list[ast.stmt]:
        return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else node


def imports(path: Path, *, to_check_types: bool = True) -> set[str]:
    """What a file imports; without `to_check_types`, only what it imports when it runs."""
    tree: ast.AST = ast.parse(path.read_text())
    if not to_check_types:
        tree = WithoutTypeChecking().visit(tree)
    found = set()
    for node in ast.walk(tree):
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
        when_run = imports(path, to_check_types=False)
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "dfa_tl" and len(parts) > 1 and parts[1] in RANK:
                other = parts[1]
                if (layer, other) in NAMES_THE_TYPE and name not in when_run:
                    continue
                assert other == layer or RANK[other] < RANK[layer], f"{path.name} imports {name}"


def test_only_models_knows_transformer_lens():
    for path, layer in modules():
        if any(name.split(".")[0] == "transformer_lens" for name in imports(path)):
            assert layer == "models", path


def test_viz_never_runs_a_model():
    for path, layer in modules():
        if layer in ("viz", "report"):
            when_run = imports(path, to_check_types=False)
            assert not any(name.startswith("dfa_tl.models") for name in when_run), path


def test_public_names():
    assert set(dfa_tl.__all__) <= set(dir(dfa_tl))
