"""Run as a process of its own by the study tests, to be killed."""

import sys

import torch

from dfa_tl.study import StudyConfig, run_study

if __name__ == "__main__":
    torch.set_num_threads(1)
    print("ready", flush=True)  # what comes now may be killed
    run_study(StudyConfig.from_yaml(sys.argv[1]), sys.argv[2], progress=False)
