"""The graph passes that make a compiled step faster, and all that stands on torch's internals for it.

`rewrite` runs them. `chains` and `sums` share what a loss and a penalty on the input gradient both compute, on any
device. `split_vectors` and `small_matmul` are for the CPU. `nodes` has what all of them need of a graph.
`compile.passes=false` leaves all of them out.
"""
