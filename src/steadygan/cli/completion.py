"""What the shell completes: names of recipes and keys of overrides. Nothing here imports torch."""

from steadygan.recipes.catalogue import key_paths, recipe_names

__all__ = ["keys", "recipe_or_key", "recipes"]


def recipes(incomplete: str) -> list[str]:
    """The recipes whose names begin so.

    >>> recipes("ring8-far")
    ['ring8-fargan']
    """
    return [name for name in recipe_names() if name.startswith(incomplete)]


def keys(incomplete: str) -> list[str]:
    """The keys that begin so, each with its equals sign.

    >>> keys("ema.")
    ['ema.decay=', 'ema.start=']
    """
    return [f"{path}=" for path in key_paths() if path.startswith(incomplete)]


def recipe_or_key(incomplete: str) -> list[str]:
    """The recipes and the keys that begin so: the default recipe's name may be left out."""
    return [*recipes(incomplete), *keys(incomplete)]
