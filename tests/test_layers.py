"""The package's own rules: imports flow one way, and only models/ knows TransformerLens."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import dfa_tl

PACKAGE = Path(dfa_tl.__file__).parent
# Each layer imports only what stands before it.
LAYERS = (
    ("errors", "display", "passes", "seeds"),
    ("arguments",),
    ("nodes", "pool", "registry"),
    ("io",),
    ("settings",),
    ("score_formats",),
    ("scores",),
    ("tasks",),
    ("models",),
    ("attribution", "alignment", "evaluation"),
    ("controls",),
    ("memory",),
    ("study",),
    ("analysis",),
    ("viz",),
    ("report",),
    ("cli",),
    ("__init__", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def files() -> dict[str, Path]:
    """Every file by its module's name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """What a file imports, also when a function of it runs, and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def test_what_is_imported_is_declared():
    """A package that only comes with another one may be gone in the next version of that one."""
    project = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    listed = project.partition("\ndependencies = [")[2].partition("\n[project.scripts]")[0]
    declared = {name.lower() for name in re.findall(r'"([\w-]+)(?=[\[">=])', listed)}
    distributions = packages_distributions()
    for path in PACKAGE.rglob("*.py"):
        for module in {name.partition(".")[0] for name in imports(path)}:
            if module not in sys.stdlib_module_names | {"dfa_tl"}:
                packages = {name.lower() for name in distributions.get(module, [module])}
                assert packages & declared, (path, module)


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


def test_no_files_import_each_other():
    """Not for types either, nor through others. `__init__` of the package names everything."""
    known = files()
    graph = {
        name: imports(path) & known.keys() - {"dfa_tl", name}
        for name, path in known.items()
        if name != "dfa_tl"
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which shows the circle


def test_only_models_knows_transformer_lens():
    for path, layer in modules():
        if any(name.split(".")[0] == "transformer_lens" for name in imports(path)):
            assert layer == "models", path


def test_viz_never_runs_a_model():
    for path, layer in modules():
        if layer in ("viz", "report"):
            assert not any(name.startswith("dfa_tl.models.loading") for name in imports(path)), path


def test_public_names():
    assert set(dfa_tl.__all__) <= set(dir(dfa_tl))
