"""Eigenvalues of a toy game under three update rules: docs/dynamics.md."""
