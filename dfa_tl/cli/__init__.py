"""`dfa-tl`: the package from a shell.

Exit codes: 0 done; 1 an error, in one line; 2 wrong usage; 3 a study that finished, but with failed
jobs; 130 interrupted with Ctrl-C.
"""

from dfa_tl.cli import report, single, study, transfer
from dfa_tl.cli.app import app, register

# `--help` lists them in the order in which they are needed: what there is, one's own pairs, the
# whole job, its single steps, studies.
for function in (
    single.models,
    single.tasks,
    single.methods,
    single.pairs,
    transfer.transfer,
    single.attribute,
    single.align,
    single.evaluate,
    study.study,
    study.tables,
    report.report,
):
    register(function)

__all__ = ["app", "report", "single", "study", "transfer"]
