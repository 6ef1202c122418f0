"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfa_tl.settings import AUTO, DTYPES

DEFAULT_PAIRS = 96

ModelName = Annotated[
    str,
    typer.Option(
        help="A bundled model (see `dfa-tl models`), a folder, a GGUF file, or a hub name."
    ),
]
Task = Annotated[
    str, typer.Option(help="A name from `dfa-tl tasks`, or a folder of pairs, such as ./my_task.")
]
Method = Annotated[
    str,
    typer.Option(help="Attribution method, such as nap-ig-inputs; `dfa-tl methods` lists all."),
]
Pairs = Annotated[
    int | None,
    typer.Option(
        "--pairs",
        min=1,
        help=f"Pairs per task.  [default: {DEFAULT_PAIRS}, or all where there are fewer]",
        show_default=False,
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, help="Seed of the pairs, of W's start and of the order of batches.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pairs per run of a model.")]
Device = Annotated[
    str | None, typer.Option(help="Such as cpu or cuda:1.  [default: a GPU where there is one]")
]
Dtype = Annotated[
    str, typer.Option(help=f"Precision of the weights: {', '.join(DTYPES)} or {AUTO}.")
]
PrependBos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        help="Whether prompts begin with a BOS. Default: as the model, and the benchmark, do.",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="No progress bars, and no messages of other packages.")
]
Config = Annotated[Path | None, typer.Option(help="YAML file with settings of the training of W.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting as name=value, such as epochs=10; may be repeated."),
]
