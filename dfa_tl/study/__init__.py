"""Whole studies: `StudyConfig`, `estimate_study`, `run_study`, `local_pool`, `StudyResults`."""

from dfa_tl.pool import local_pool
from dfa_tl.study.config import PairSpec, StudyConfig
from dfa_tl.study.estimate import estimate_study
from dfa_tl.study.results import StudyResults
from dfa_tl.study.run import run_study

__all__ = [
    "PairSpec",
    "StudyConfig",
    "StudyResults",
    "estimate_study",
    "local_pool",
    "run_study",
]
