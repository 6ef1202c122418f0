"""Results as plotly figures, returned and never shown."""

from dfa_tl.viz.curves import faithfulness_curves

__all__ = ["faithfulness_curves"]
