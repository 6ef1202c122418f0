"""A study as one HTML file that needs no network.

A new figure of the report is one record in `FIGURES`.
"""

from dfa_tl.report.figures import FIGURES
from dfa_tl.report.page import write_report

__all__ = ["FIGURES", "write_report"]
