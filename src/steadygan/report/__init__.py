"""The report: one self-contained page on one or more runs, with verdicts, scores, curves, samples and settings."""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.report.page import Page, report

__all__ = ["Page", "report"]

__getattr__, __dir__ = lazy(__name__)
