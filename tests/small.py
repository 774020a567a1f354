"""A recipe that trains in a moment, for tests of commands and run folders."""

RING = {
    "data": "ring8",
    "networks": {"name": "mlp", "width": 8, "depth": 2},
    "critic": {"penalties": ["r1"]},
    "optimizer": {"name": "sgd", "lr": 0.01},
    "batch": 8,
    "steps": 6,
    "compile": False,
    "every": {"log": 1, "score": 6, "checkpoint": 2},
}
