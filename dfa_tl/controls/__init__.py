"""Controls: what a transfer gives when part of its information is taken away, or more is given.

control       W                              source scores      what it tests
random_W      untrained, N(0, std^2)         of the task        a random ranking
untrained_W   as it is before training       of the task        what training adds
depth_mean_W  untrained, depth-mean          of the task        what layers alone carry over
depth_mean_paper_W  the same with the paper's depth-mean heuristic
permuted_W    trained, columns permuted      of the task        whether the target node matters
scrambled_s   trained                        permuted           whether the source node matters
random_s      trained with and tested on one random vector per task: whether s means anything
uniform_s     trained with and tested on a constant s: one mask for all tasks, so what DFA gains
              over it is what the source accounts for
target_only   no W: a free mask trained on the task itself, without any source
regression    ridge from source to gold scores of the training tasks: W with supervision
mean_gold     the mean of the training tasks' gold scores: supervision without a source

`CONTROLS` says how a study uses them.
"""

from dfa_tl.controls.registry import CONTROLS, Control, Inputs, Need, register_control
from dfa_tl.controls.supervised import mean_gold, regression
from dfa_tl.controls.trained import target_only
from dfa_tl.controls.untrained import (
    depth_mean_paper_W,
    depth_mean_W,
    permuted_W,
    random_s,
    random_W,
    scrambled_s,
    uniform_s,
    untrained_W,
)

__all__ = [
    "CONTROLS",
    "Control",
    "Inputs",
    "Need",
    "depth_mean_W",
    "depth_mean_paper_W",
    "mean_gold",
    "permuted_W",
    "random_W",
    "random_s",
    "register_control",
    "regression",
    "scrambled_s",
    "target_only",
    "uniform_s",
    "untrained_W",
]
