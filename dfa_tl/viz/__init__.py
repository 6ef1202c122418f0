"""Results as plotly figures, returned and never shown."""

from dfa_tl.viz.alignment_map import alignment_map
from dfa_tl.viz.attention import AttentionView, attention_view, token_view
from dfa_tl.viz.circuit_graph import circuit_graph
from dfa_tl.viz.circuit_overlap import circuit_overlap
from dfa_tl.viz.controls_by_task import controls_by_task
from dfa_tl.viz.cost_frontier import cost_frontier
from dfa_tl.viz.cross_task_heatmap import cross_task_heatmap
from dfa_tl.viz.export import save_figure
from dfa_tl.viz.faithfulness_curves import faithfulness_curves
from dfa_tl.viz.rank_scatter import rank_scatter
from dfa_tl.viz.recovery_bars import recovery_bars
from dfa_tl.viz.recovery_by_gap import recovery_by_gap
from dfa_tl.viz.score_map import score_map
from dfa_tl.viz.study_curves import study_curves
from dfa_tl.viz.training_history import training_history
from dfa_tl.viz.transfer_flow import transfer_flow

__all__ = [
    "AttentionView",
    "alignment_map",
    "attention_view",
    "circuit_graph",
    "circuit_overlap",
    "controls_by_task",
    "cost_frontier",
    "cross_task_heatmap",
    "faithfulness_curves",
    "rank_scatter",
    "recovery_bars",
    "recovery_by_gap",
    "save_figure",
    "score_map",
    "study_curves",
    "token_view",
    "training_history",
    "transfer_flow",
]
