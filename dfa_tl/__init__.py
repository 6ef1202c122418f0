"""Differentiable Faithfulness Alignment: carry a circuit over to a larger language model."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfa_tl import analysis as analysis
    from dfa_tl import controls as controls
    from dfa_tl import viz as viz
    from dfa_tl.alignment.align import align
    from dfa_tl.alignment.alignment import Alignment, AlignmentChain
    from dfa_tl.alignment.config import AlignmentConfig
    from dfa_tl.alignment.history import AlignmentHistory
    from dfa_tl.attribution.attribute import attribute
    from dfa_tl.errors import DFAError
    from dfa_tl.evaluation.curve import LINEAR_KS, MIB_KS, FaithfulnessCurve
    from dfa_tl.evaluation.evaluate import evaluate, evaluate_many
    from dfa_tl.evaluation.held_out import HeldOut
    from dfa_tl.evaluation.task_check import report_pairs
    from dfa_tl.memory import estimate_memory
    from dfa_tl.models.attention import AttentionPatterns, attention_patterns
    from dfa_tl.models.loading import load_model
    from dfa_tl.models.node_model import NodeModel
    from dfa_tl.models.verify import check
    from dfa_tl.nodes import Node, NodeSet
    from dfa_tl.scores import NodeScores
    from dfa_tl.study import PairSpec, StudyConfig, StudyResults, estimate_study, run_study
    from dfa_tl.tasks.pairs import PairDataset, PromptPair
    from dfa_tl.tasks.registry import load_task
    from dfa_tl.tasks.sources.tables import read_pairs

__all__ = [
    "LINEAR_KS",
    "MIB_KS",
    "Alignment",
    "AlignmentChain",
    "AlignmentConfig",
    "AlignmentHistory",
    "AttentionPatterns",
    "DFAError",
    "FaithfulnessCurve",
    "HeldOut",
    "Node",
    "NodeModel",
    "NodeScores",
    "NodeSet",
    "PairDataset",
    "PairSpec",
    "PromptPair",
    "StudyConfig",
    "StudyResults",
    "align",
    "analysis",
    "attention_patterns",
    "attribute",
    "check",
    "controls",
    "estimate_memory",
    "estimate_study",
    "evaluate",
    "evaluate_many",
    "load_model",
    "load_task",
    "read_pairs",
    "report_pairs",
    "run_study",
]
__version__ = "0.1.0"

# The same imports again, done when a name is first asked for: torch, Transformers and plotly take
# seconds, and `dfa-tl --help` needs none of them.
_HOMES = {
    name: module
    for module, names in {
        "dfa_tl.alignment.align": "align",
        "dfa_tl.alignment.alignment": "Alignment AlignmentChain",
        "dfa_tl.analysis": "analysis",
        "dfa_tl.controls": "controls",
        "dfa_tl.alignment.config": "AlignmentConfig",
        "dfa_tl.alignment.history": "AlignmentHistory",
        "dfa_tl.attribution.attribute": "attribute",
        "dfa_tl.errors": "DFAError",
        "dfa_tl.evaluation.curve": "FaithfulnessCurve LINEAR_KS MIB_KS",
        "dfa_tl.evaluation.evaluate": "evaluate evaluate_many",
        "dfa_tl.evaluation.held_out": "HeldOut",
        "dfa_tl.memory": "estimate_memory",
        "dfa_tl.models.loading": "load_model",
        "dfa_tl.models.attention": "AttentionPatterns attention_patterns",
        "dfa_tl.evaluation.task_check": "report_pairs",
        "dfa_tl.models.node_model": "NodeModel",
        "dfa_tl.models.verify": "check",
        "dfa_tl.nodes": "Node NodeSet",
        "dfa_tl.scores": "NodeScores",
        "dfa_tl.study": "PairSpec StudyConfig StudyResults estimate_study run_study",
        "dfa_tl.tasks.sources.tables": "read_pairs",
        "dfa_tl.tasks.pairs": "PairDataset PromptPair",
        "dfa_tl.tasks.registry": "load_task",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    """A public name, or a module of the package, imported when it is first asked for."""
    home = _HOMES.get(name, f"{__name__}.{name}")
    if name.startswith("_") or find_spec(home) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(home)
    globals()[name] = found = getattr(module, name, module) if name in _HOMES else module
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
