"""Whole studies: `StudyConfig`, `run_study`, `StudyResults`."""

from dfa_tl.study.config import PairSpec, StudyConfig
from dfa_tl.study.results import StudyResults
from dfa_tl.study.run import run_study

__all__ = ["PairSpec", "StudyConfig", "StudyResults", "run_study"]
