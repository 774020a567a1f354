"""Compilation of a step into one program, and the graph passes that make it faster.

`compiled_step` compiles and checks. `program` traces a step as a flat program, `inductor` calls torch's compiler, and
`kept` keeps programs. `passes` rewrite its graph. `cpu` sets threads, libraries and memory; `gpu` sets how products are
rounded, and `cuda_graphs` records a step and replays it.
"""
