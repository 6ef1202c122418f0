"""The options that several commands share, and how numbers are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dfa_tl.settings import AUTO, DTYPES

DEFAULT_PAIRS = 96


def whole_number(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` upwards, for the `parser` of an option."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise typer.BadParameter(f"expected a whole number, got {text!r}") from None
        if number < least:
            raise typer.BadParameter(f"expected a whole number from {least}, got {number}")
        return number

    return read


ModelName = Annotated[
    str,
    typer.Option(
        metavar="MODEL",
        help="A bundled model (see `dfa-tl models`), a folder, a GGUF file, or a hub name.",
    ),
]
Task = Annotated[
    str,
    typer.Option(
        metavar="TASK",
        help="A name from `dfa-tl tasks`, or pairs of your own: a file (pairs.csv), or a folder "
        "with train.csv and test.csv (./my_task).",
    ),
]
Method = Annotated[
    str, typer.Option(metavar="METHOD", help="Attribution method; `dfa-tl methods` lists them.")
]
Pairs = Annotated[
    int | None,
    typer.Option(
        "--pairs",
        parser=whole_number(1),
        metavar="N",
        help=f"Pairs per task.  [default: {DEFAULT_PAIRS}, or all where there are fewer]",
        show_default=False,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        parser=whole_number(0),
        metavar="N",
        help="Seed of the pairs, of W's start and of the order of batches.",
    ),
]
BatchSize = Annotated[
    int, typer.Option(parser=whole_number(1), metavar="N", help="Pairs per run of a model.")
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE", help="Such as cpu or cuda:1.  [default: a GPU where there is one]"
    ),
]
Dtype = Annotated[
    str,
    typer.Option(metavar="TYPE", help=f"Precision of the weights: {', '.join(DTYPES)} or {AUTO}."),
]
PrependBos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        help="Whether prompts begin with a BOS token.  [default: as for the model and the "
        "benchmark]",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="No progress bars, and no messages from other packages.")
]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="YAML file with settings of the training of W."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A setting, such as epochs=10; may be repeated."
    ),
]
Grid = Annotated[
    str,
    typer.Option(
        metavar="GRID",
        help="Proportions of nodes to keep: linear, from 0 to 1 in steps of .05; coarse, in steps "
        "of .1; or mib, the benchmark's.",
    ),
]
Study = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder of a study.")]
