"""Differentiable Faithfulness Alignment: carry a circuit over to a larger language model."""

from importlib import import_module
from types import ModuleType

from dfa_tl import controls
from dfa_tl.alignment.align import align
from dfa_tl.alignment.alignment import Alignment, AlignmentChain, AlignmentHistory
from dfa_tl.alignment.config import AlignmentConfig
from dfa_tl.attribution.attribute import attribute
from dfa_tl.errors import DFAError
from dfa_tl.evaluation.curve import FaithfulnessCurve
from dfa_tl.evaluation.evaluate import evaluate, evaluate_many
from dfa_tl.evaluation.grids import LINEAR_KS, MIB_KS
from dfa_tl.memory import estimate_memory
from dfa_tl.models.loading import load_model
from dfa_tl.models.patterns import AttentionPatterns, attention_patterns
from dfa_tl.models.wrapper import NodeModel
from dfa_tl.nodes import Node, NodeSet
from dfa_tl.scores import NodeScores
from dfa_tl.study import PairSpec, StudyConfig, StudyResults, run_study
from dfa_tl.tasks.files import read_pairs
from dfa_tl.tasks.pairs import PairDataset, PromptPair
from dfa_tl.tasks.registry import load_task

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
    "attention_patterns",
    "attribute",
    "controls",
    "estimate_memory",
    "evaluate",
    "evaluate_many",
    "load_model",
    "load_task",
    "read_pairs",
    "run_study",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """`dfa_tl.viz`, imported when it is first asked for: plotly takes a while."""
    if name == "viz":
        return import_module("dfa_tl.viz")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
