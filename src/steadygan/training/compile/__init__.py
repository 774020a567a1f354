"""Compilation of a step into one program, and the graph passes that make it faster.

`compiled_step` compiles and checks; `share_backward`, `split_vectors` and `small_matmul` rewrite the graph; `cpu` sets
threads, libraries and memory; `gpu` sets how products are rounded, and `cuda_graphs` records a step and replays it.
"""
