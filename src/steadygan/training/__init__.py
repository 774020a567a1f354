"""Training: the loop and its events, checkpoints, sampling, and scores during training.

The loop knows no folder and no command line; `steadygan.runs` writes what it yields.
"""
