"""`doable_tasks`: the tasks that all of some models can do.

A circuit of a task that a model cannot do explains nothing, and training on it teaches W nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dfa_tl.arguments import checked_arguments
from dfa_tl.errors import DataError
from dfa_tl.evaluation.task_check import report_pairs
from dfa_tl.models.node_model import NodeModel
from dfa_tl.tasks.metrics import DONE
from dfa_tl.tasks.pairs import PairDataset


@checked_arguments(skip=("models",))
def doable_tasks(
    data: Mapping[str, PairDataset],
    models: Iterable[NodeModel],
    *,
    accuracy: float = DONE,
    batch_size: int = 16,
) -> tuple[dict[str, PairDataset], dict[str, str]]:
    """Sort tasks into those that all models can do, and the others.

    Args:
        data: Pairs of each task.
        models: The models; each runs the clean and corrupt prompts once.
        accuracy: What counts as done: the share of pairs whose answer has a larger logit than the
            wrong answer.
        batch_size: Pairs per run.

    Returns:
        The data of the tasks that all models can do, and why each other task is left out.
    """
    reasons: dict[str, str] = {}
    for model in models:
        for task, pairs in data.items():
            if task not in reasons and (reason := _reason(model, pairs, accuracy, batch_size)):
                reasons[task] = reason
    return {task: pairs for task, pairs in data.items() if task not in reasons}, reasons


def _reason(model: NodeModel, pairs: PairDataset, accuracy: float, batch_size: int) -> str | None:
    """Why a task is left out; None for one that the model can do."""
    try:
        report = report_pairs(model, pairs, batch_size=batch_size)
    except DataError as error:
        return str(error).splitlines()[0]
    if report.rows and report.accuracy < accuracy:
        return f"{model.name} has an accuracy of {report.accuracy:.2f}, below {accuracy:g}"
    return report.warning
