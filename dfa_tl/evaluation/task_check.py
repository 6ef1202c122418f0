"""`report_pairs`: how one model reads the pairs, and whether it can do the task.

m is the logit difference, answer minus wrong answer, at the last position. Accuracy is the share of
pairs whose clean run prefers the answer to the wrong one; guessing gives one half. A circuit of a
task that the model cannot do explains nothing, so the report warns when the accuracy is at most
`NEAR_CHANCE` or m(clean) does not exceed m(corrupt).
"""

# pandas has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from dfa_tl import display
from dfa_tl.arguments import checked_arguments
from dfa_tl.models.node_model import NodeModel
from dfa_tl.tasks.batches import TokenPairs, padded
from dfa_tl.tasks.metrics import NEAR_CHANCE, logit_diff
from dfa_tl.tasks.pairs import PairDataset
from dfa_tl.tasks.prompt_pair import PromptPair
from dfa_tl.tasks.tokenization import Dropped

SHOWN = 10
"""Pairs in the text and in the notebook view; `frame` has them all."""
COLUMNS = (
    "pair", "clean", "corrupt", "answer", "wrong_answer", "n_tokens", "differs",
    "m_clean", "m_corrupt", "right", "dropped",
)  # fmt: skip


@dataclass(frozen=True)
class PairRow:
    """One usable pair.

    Attributes:
        number: Its index in the data set.
        clean, corrupt: Its tokens as text; both have the same number.
        answer, wrong_answer: The answer tokens as text.
        differs: Positions at which the prompts have different tokens.
        m_clean, m_corrupt: Logit difference of the two runs.
        text: The pair itself; None for a pair that is given as tokens.
    """

    number: int
    clean: tuple[str, ...]
    corrupt: tuple[str, ...]
    answer: str
    wrong_answer: str
    differs: tuple[int, ...]
    m_clean: float
    m_corrupt: float
    text: PromptPair | None = None

    @property
    def right(self) -> bool:
        """Whether the clean run prefers the answer."""
        return self.m_clean > 0

    @property
    def heading(self) -> str:
        """The pair in a line, without its prompts."""
        return (
            f"pair {self.number}: {self.answer!r} not {self.wrong_answer!r}, "
            f"m {self.m_clean:.3g} / {self.m_corrupt:.3g}"
        )

    def prompts(
        self, marked: Callable[[str], str], plain: Callable[[str], str] = str
    ) -> list[tuple[str, str]]:
        """Each prompt on a line, with bars between tokens; tokens that differ are `marked`."""

        def on_a_line(tokens: tuple[str, ...]) -> str:
            texts = [token.replace("\n", "\\n").replace("\t", "\\t") for token in tokens]
            shown = (marked if i in self.differs else plain for i in range(len(texts)))
            return "|".join(show(text) for show, text in zip(shown, texts, strict=True))

        return [("clean", on_a_line(self.clean)), ("corrupt", on_a_line(self.corrupt))]


@dataclass(frozen=True, repr=False)
class PairsReport:
    """Pairs of one task as one model sees them.

    Attributes:
        task, model: Their names.
        rows: The usable pairs.
        dropped: The pairs that cannot be used with the model's tokenizer, with the reason.
        left_out: What the source contains and the data set does not, in words.
    """

    task: str
    model: str
    rows: tuple[PairRow, ...]
    dropped: tuple[Dropped, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def m_clean(self) -> float:
        """Mean logit difference of the clean runs; NaN without pairs."""
        return _mean([row.m_clean for row in self.rows])

    @property
    def m_corrupt(self) -> float:
        """Mean logit difference of the corrupt runs; NaN without pairs."""
        return _mean([row.m_corrupt for row in self.rows])

    @property
    def accuracy(self) -> float:
        """Share of pairs whose clean run prefers the answer; NaN without pairs."""
        return _mean([float(row.right) for row in self.rows])

    @property
    def warning(self) -> str | None:
        """Why circuits should not be measured on these pairs; None if there is no reason."""
        if not self.rows:
            return "no pair can be used with this model's tokenizer"
        if not np.isfinite([self.m_clean, self.m_corrupt]).all():
            numbers = [
                r.number for r in self.rows if not np.isfinite([r.m_clean, r.m_corrupt]).all()
            ]
            return f"the logits are not finite in pairs {numbers[:10]}"
        if self.accuracy <= NEAR_CHANCE:
            return (
                f"{self.model} cannot do this task: accuracy {self.accuracy:.2f}, where guessing "
                "gives 0.50"
            )
        if self.m_clean <= self.m_corrupt:
            return (
                "the corrupt prompts support the answer at least as much as the clean ones: "
                f"m(clean) = {self.m_clean:.3g}, m(corrupt) = {self.m_corrupt:.3g}"
            )
        return None

    def frame(self) -> pd.DataFrame:
        """One row per pair, dropped ones included, in the order of the data set.

        Columns: `pair` (its number), `clean`, `corrupt`, `answer`, `wrong_answer`, `n_tokens`,
        `differs` (positions), `m_clean`, `m_corrupt`, `right`, `dropped` (the reason, or None).
        """
        used = [
            {
                "pair": row.number,
                "clean": "".join(row.clean) if row.text is None else row.text.clean,
                "corrupt": "".join(row.corrupt) if row.text is None else row.text.corrupt,
                "answer": row.answer,
                "wrong_answer": row.wrong_answer,
                "n_tokens": len(row.clean),
                "differs": row.differs,
                "m_clean": row.m_clean,
                "m_corrupt": row.m_corrupt,
                "right": row.right,
                "dropped": None,
            }
            for row in self.rows
        ]
        unused = [
            {
                "pair": each.number,
                "clean": each.pair.clean,
                "corrupt": each.pair.corrupt,
                "answer": each.pair.answer,
                "wrong_answer": each.pair.wrong_answer,
                "dropped": each.reason,
            }
            for each in self.dropped
        ]
        frame = pd.DataFrame([*used, *unused], columns=COLUMNS, dtype=object)
        types = {"pair": int, "m_clean": float, "m_corrupt": float, "n_tokens": "Int64"}
        return cast("pd.DataFrame", frame.astype(types).sort_values("pair", ignore_index=True))

    def _facts(self) -> list[str]:
        facts = [f"{len(self.rows)} pairs", f"{len(self.dropped)} cannot be used"]
        if self.rows:
            facts += [
                f"m(clean) = {self.m_clean:.3g}",
                f"m(corrupt) = {self.m_corrupt:.3g}",
                f"accuracy {self.accuracy:.2f} (guessing: 0.50)",
            ]
        return facts

    def _notes(self) -> list[str]:
        """Lines below the pairs."""
        notes: list[str] = []
        if len(self.rows) > SHOWN:
            notes.append(f"and {len(self.rows) - SHOWN} more pairs, see frame()")
        notes += [f"cannot be used: {each}" for each in self.dropped[:SHOWN]]
        if len(self.dropped) > SHOWN:
            notes.append(f"and {len(self.dropped) - SHOWN} more that cannot be used")
        return notes + [f"left out: {text}" for text in self.left_out]

    def __repr__(self) -> str:
        return (
            f"PairsReport({self.model} on {self.task}: {len(self.rows)} pairs, "
            f"{len(self.dropped)} dropped, accuracy {self.accuracy:.2f})"
        )

    def __str__(self) -> str:
        lines = [f"{self.task} on {self.model}: {', '.join(self._facts())}"]
        if self.warning:
            lines.append(f"WARNING: {self.warning}")
        for row in self.rows[:SHOWN]:
            lines.append(row.heading)
            lines += [f"  {which:8}{prompt}" for which, prompt in row.prompts("[{}]".format)]
        return "\n".join([*lines, *self._notes()])

    def _repr_html_(self) -> str:
        parts = [f"<div><b>Warning:</b> {escape(self.warning)}</div>"] if self.warning else []
        for row in self.rows[:SHOWN]:
            parts.append(display.line(row.heading))
            cell = '<td style="text-align:left">'
            lines = [
                f"<tr>{cell}{which}</td>{cell}{prompt}</td></tr>"
                for which, prompt in row.prompts(lambda t: f"<mark>{escape(t)}</mark>", escape)
            ]
            parts.append(f"<table>{''.join(lines)}</table>")
        parts += [display.line(note) for note in self._notes()]
        return display.block(f"{self.task} on {self.model}", self._facts(), *parts)


@checked_arguments
def report_pairs(model: NodeModel, data: PairDataset, *, batch_size: int = 16) -> PairsReport:
    """How a model reads the pairs, and whether it can do the task.

    Args:
        model: Runs the clean and the corrupt prompts; it is not changed.
        data: The pairs.
        batch_size: Pairs per run.

    Raises:
        DataError: tokens out of the model's vocabulary.
    """
    if data.tokens is not None:
        tokens, numbers, dropped = data.tokenize(model), range(len(data)), ()
    else:
        usable, unusable = data.sorted_for(model)
        numbers, dropped = list(usable), tuple(unusable)
        if not usable:
            return PairsReport(data.name, model.name, (), dropped, data.left_out)
        tokens = padded(list(usable.values()), data.name)
    clean, corrupt = _logit_diffs(model, tokens, batch_size)
    rows: list[PairRow] = []
    for i, number in enumerate(numbers):
        length = int(tokens.lengths[i])
        prompts = tokens.clean[i, :length], tokens.corrupt[i, :length]
        answer, wrong_answer = model.token_texts(tokens.answers[i])
        rows.append(
            PairRow(
                number=number,
                clean=tuple(model.token_texts(prompts[0])),
                corrupt=tuple(model.token_texts(prompts[1])),
                answer=answer,
                wrong_answer=wrong_answer,
                differs=tuple((prompts[0] != prompts[1]).nonzero()[:, 0].numpy().tolist()),
                m_clean=float(clean[i]),
                m_corrupt=float(corrupt[i]),
                text=None if data.tokens is not None else data.pairs[number],
            )
        )
    return PairsReport(data.name, model.name, tuple(rows), dropped, data.left_out)


def _logit_diffs(
    model: NodeModel, tokens: TokenPairs, batch_size: int
) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Logit differences of each pair in the clean and in the corrupt run."""
    clean, corrupt = torch.empty(len(tokens)), torch.empty(len(tokens))
    with model.unchanged(), torch.no_grad():
        for rows in tokens.row_batches(batch_size):
            batch = tokens.select(rows, model.device)
            for values, prompts in ((clean, batch.clean), (corrupt, batch.corrupt)):
                logits = model.last_logits(prompts, batch.mask, batch.last)
                values[rows] = logit_diff(logits, batch).cpu()
    return clean, corrupt


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
