"""The number of target pairs that direct attribution needs to do as well as a transfer."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dfa_tl.analysis.effects import check_regime
from dfa_tl.analysis.render import Table
from dfa_tl.analysis.select import Results
from dfa_tl.analysis.tables import title
from dfa_tl.arguments import checked_arguments
from dfa_tl.controls.regimes import FEW_PAIRS, GOLD, Regime


@checked_arguments
def break_even(results: Results, regime: str = Regime.ZERO_SHOT) -> Table:
    """The smallest number of target pairs from which gold circuits reach the regime's CPR.

    Every larger number that was tried reaches it too, so a small number that does by luck does not
    count. Gold CPR is the mean over draws and seeds. Missing where no number tried is enough.

    Raises:
        ConfigError: an unknown regime.
    """
    check_regime(regime)
    config = results.config
    rows: Any = results.headline()
    main = config.default_variant
    found = []
    for pair in config.pairs:
        of_pair = rows[rows["pair"] == pair.name]
        for method in config.methods:
            ours = of_pair[(of_pair["method"] == method) & (of_pair["regime"] == regime)]
            ours = ours[ours["variant"] == main].groupby("test_task")["cpr"].mean()
            for direct in config.few_pairs_methods:
                few = of_pair[
                    (of_pair["method"] == direct) & of_pair["regime"].isin([FEW_PAIRS, GOLD])
                ]
                sizes = few.groupby(["test_task", "pairs"])["cpr"].mean()
                for task in config.tasks:
                    if task not in ours.index or task not in few["test_task"].to_numpy():
                        continue
                    by_size = sizes[task]
                    reached = by_size.sort_index() >= ours[task]
                    enough = reached.index[reached[::-1].cummin()[::-1]]
                    found.append(
                        {
                            "pair": pair.name,
                            "method": method,
                            "task": task,
                            regime: float(ours[task]),
                            "direct method": direct,
                            "pairs needed": int(enough.min()) if len(enough) else pd.NA,
                            **{f"CPR from {n}": float(v) for n, v in by_size.items()},
                        }
                    )
    table = pd.DataFrame(found)
    if found:
        table["pairs needed"] = table["pairs needed"].astype("Int64")
    return Table(
        table, title(f"Target pairs that direct attribution needs to reach {regime}", results)
    )
