"""A study as one HTML file that needs no network."""

from dfa_tl.report.page import write_report

__all__ = ["write_report"]
