"""Published recipes on 8 and 64 GPUs, on paper: docs/scale.md."""
