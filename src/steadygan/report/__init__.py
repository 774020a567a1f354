"""The report: one self-contained page on one or more runs, with verdicts, scores, curves, samples and settings."""
