"""What times the code: `python -m benchmarks.NAME` from the repository's root."""
