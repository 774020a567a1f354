"""The sizes of images that networks take, and the nearest ones to offer where they do not take one."""

import torch

from steadygan.config.records import Choice, make
from steadygan.config.registry import DATA, NETWORKS
from steadygan.data.image_files import shape_text
from steadygan.errors import UsageError

__all__ = ["check_size", "nearest_sizes", "takes"]

MOST = 1024
"""The largest side that is offered."""


def takes(networks: Choice, shape: tuple[int, ...], classes: int = 0) -> bool:
    """Whether an architecture has networks for samples of this shape. They are made without memory for their weights.

    >>> takes(Choice("dcgan", {}), (3, 64, 64)), takes(Choice("dcgan", {}), (3, 96, 96))
    (True, False)
    """
    labels = {"classes": classes} if classes else {}
    try:
        with torch.device("meta"):
            make(NETWORKS, networks, shape=shape, **labels)
    except UsageError:
        return False
    return True


def nearest_sizes(networks: Choice, channels: int, side: int, classes: int = 0) -> list[int]:
    """The nearest sides of square images that an architecture takes: at most `side`, and above it.

    >>> nearest_sizes(Choice("dcgan", {}), 3, 100)
    [64, 128]
    """
    side = min(side, MOST)
    below, above = range(side, 3, -1), range(side + 1, max(2 * side, 64) + 1)
    found = (
        next((size for size in sides if takes(networks, (channels, size, size), classes)), None)
        for sides in (below, above)
    )
    return [size for size in found if size]


def check_size(networks: Choice, chosen: Choice, shape: tuple[int, ...], classes: int = 0) -> None:
    """Raise UsageError if images could be resized to a size that the networks take, and have none now."""
    if "filter" not in DATA[chosen.name].options or takes(networks, shape, classes):
        return
    offered = nearest_sizes(networks, shape[0], min(shape[1:]), classes)
    if offered:
        raise UsageError(
            f"networks.name={networks.name} takes no images of {shape_text(shape[1:])} (height x width): set "
            f"{' or '.join(f'data.size={size}' for size in offered)}"
        )
