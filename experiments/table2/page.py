"""The page docs/results.md."""


def written(figures, out):
    pass
