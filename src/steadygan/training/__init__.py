"""Training: the loop and its events, checkpoints, sampling, and evaluation during training.

The loop knows no folder and no command line. `steadygan.runs` writes the events that it yields.
"""
