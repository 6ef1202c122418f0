"""Write docs/tasks.md: the tasks in natural English, and the accuracy of pretrained models.

python benchmarks/task_accuracy.py --models FOLDER
python docs/make_tasks.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dfa_tl import load_task
from dfa_tl.io.atomic import write_file
from dfa_tl.tasks import TASKS
from dfa_tl.tasks.metrics import DONE

ROOT = Path(__file__).parents[1]
HEAD = """\
# Tasks for pretrained models

`load_task` draws these {n_tasks} tasks of {n_families} families in the same way as those of the
bundled models, which do not know their words. No pair needs a network, and no problem is in two
splits: where a task asks for a fact, the facts of the test split are in no prompt of the train
split. The two prompts of a pair have the same number of tokens, and each answer is one token, with
the tokenizers of GPT-2, Pythia, Llama-3, Qwen-2.5, Gemma 3 and SmolLM2. With another tokenizer, the
pairs that do not fit are left out, and a warning lists them with the reason.

```pycon
>>> from dfa_tl import load_task
>>> load_task("country_capital", split="test", n=50)
PairDataset('country_capital', 50 pairs)
```

Made by `python docs/make_tasks.py`; not edited by hand. A task is added by a record in one of the
files of `dfa_tl/tasks/generators/`; `tests/test_every_task.py` checks whatever is registered.

## Tasks

The first pair of each task's test split: the clean prompt with its answer, and the corrupt prompt
with the wrong answer, which is right for that prompt. A line break is written `\\n`.
"""
ACCURACY = """
## Accuracy of pretrained models

Accuracy on test pairs is the share of pairs whose answer has a larger logit than the wrong answer.
Brackets give the mean logit difference on the clean and on the corrupt prompts, in float32. A task
counts as solved at an accuracy of {done} or more, in bold. A dash means not measured. The weights
of these models are {precision}: close to the published ones, but not equal. With few pairs the
accuracy is coarse.

Made by `python benchmarks/task_accuracy.py --models FOLDER`.

"""
ENGLISH = {name: task for name, task in TASKS.items() if not task.is_toy}


def as_code(text: str) -> str:
    """A prompt as code in one cell of a table."""
    return f"`{text}`".replace("\n", "\\n").replace("|", "\\|")


def examples() -> str:
    """A table of the tasks."""
    lines = ["| task | family | clean | corrupt | studied in |", "|---|---|---|---|---|"]
    for name, task in ENGLISH.items():
        pair = load_task(name, split="test", n=1).pairs[0]
        sides = ((pair.clean, pair.answer), (pair.corrupt, pair.wrong_answer))
        clean, corrupt = (
            f"{as_code(text)} **{answer}**".replace("** ", "**") for text, answer in sides
        )
        lines.append(f"| {name} | {task.family} | {clean} | {corrupt} | {task.reference} |")
    return "\n".join(lines) + "\n"


def cell(row: pd.Series) -> str:
    """What one model does on one task."""
    accuracy = f"{row.accuracy:.2f}"
    accuracy = f"**{accuracy}**" if row.accuracy >= DONE else accuracy
    return f"{accuracy} ({row.m_clean:.1f}, {row.m_corrupt:.1f})"


def results(rows: pd.DataFrame) -> str:
    """A table of tasks and models, and how many tasks each model solves."""
    found = {(row.model, row.task): cell(row) for row in rows.itertuples()}
    names = list(dict.fromkeys(rows.model))
    pairs = {name: sorted(set(rows[rows.model == name].pairs)) for name in names}
    heads = [f"{name}, {' or '.join(map(str, pairs[name]))} pairs" for name in names]
    lines = [f"| task | {' | '.join(heads)} |", "|---|" + "---|" * len(names)]
    for task in ENGLISH:
        lines.append(f"| {task} | {' | '.join(found.get((name, task), '–') for name in names)} |")
    lines.append("")
    for name in names:
        measured = rows[rows.model == name]
        done = measured[measured.accuracy >= DONE].task
        families = {ENGLISH[task].family for task in done}
        lines.append(
            f"- {name} solves {len(done)} tasks of {len(families)} families; {len(measured)} of "
            f"the {len(ENGLISH)} tasks were measured."
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    rows = pd.read_csv(ROOT / "benchmarks" / "results" / "task_accuracy.csv")
    rows = rows[rows.task.isin(list(ENGLISH))]
    families = {task.family for task in ENGLISH.values()}
    page = HEAD.format(n_tasks=len(ENGLISH), n_families=len(families)) + "\n" + examples()
    (precision,) = set(rows.precision)
    page += ACCURACY.format(done=DONE, precision=precision) + results(rows)
    write_file(ROOT / "docs" / "tasks.md", page.encode())


if __name__ == "__main__":
    main()
