"""Controls: transfers with part of the information removed, or with more of it.

control             W                        source scores      what it tests
random_W            untrained, N(0, std^2)   of the task        a random ranking
untrained_W         before training          of the task        what training adds
depth_mean_W        untrained, depth-mean    of the task        what layers alone carry over
depth_mean_paper_W  the same with the paper's depth-mean heuristic
permuted_W          trained, columns permuted  of the task      whether the target node matters
scrambled_s         trained                  permuted           whether the source node matters
random_s            trained and tested on one random vector per task: whether s has a meaning
uniform_s           trained and tested on constant s: one mask for all tasks, so the difference from
                    W is what the source accounts for
target_only         no W: a free mask trained on the task itself, without any source
regression          ridge from source to gold scores of the training tasks: W with supervision
mean_gold           the mean of the training tasks' gold scores: supervision without a source
nearest_gold        the gold scores of the training task with the nearest source scores: the source
                    says only which known task this one is like (`nearest_task`)
regression_mask, mean_mask, nearest_mask
                    the same from a mask trained on each training task instead of gold scores
ensemble            the mean of regression_mask and nearest_mask
task_identity       trained on one-hot s: W without any similarity between tasks

`CONTROLS` says how a study uses them.
"""

from dfa_tl.controls.control import Control as Control
from dfa_tl.controls.control import Inputs as Inputs
from dfa_tl.controls.control import Need as Need
from dfa_tl.controls.registry import CONTROLS as CONTROLS
from dfa_tl.controls.registry import register_control as register_control
from dfa_tl.controls.supervised import mean_scores as mean_scores
from dfa_tl.controls.supervised import nearest_task as nearest_task
from dfa_tl.controls.supervised import regression as regression
from dfa_tl.controls.trained import target_only as target_only
from dfa_tl.controls.untrained import depth_mean_paper_W as depth_mean_paper_W
from dfa_tl.controls.untrained import depth_mean_W as depth_mean_W
from dfa_tl.controls.untrained import permuted_W as permuted_W
from dfa_tl.controls.untrained import random_s as random_s
from dfa_tl.controls.untrained import random_W as random_W
from dfa_tl.controls.untrained import scrambled_s as scrambled_s
from dfa_tl.controls.untrained import uniform_s as uniform_s
from dfa_tl.controls.untrained import untrained_W as untrained_W
