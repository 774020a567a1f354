"""The tables of docs/results.md, in the order in which they are run."""

from collections.abc import Sequence
from typing import NamedTuple

from experiments.table2.methods import METHODS, RATES

__all__ = ["CR", "LATE_TABLE", "TABLES", "Table", "described"]

SEEDS = range(1, 6)
"""Fresh seeds at the chosen rate."""

MORE_SEEDS = range(1, 11)
"""Where one of five seeds decides what a mean says."""

TUNING = (range(1),)
"""The seeds of a grid, those of one program together."""

MORE_TUNING = (*TUNING, range(11, 13))
"""Where one seed chooses badly."""

MOST_TUNING = (*MORE_TUNING, range(13, 19))
"""Where three do, too."""


class Table(NamedTuple):
    """A table of the page: its images, how many of them there are to train on (None: all), and the architecture.

    `longer` multiplies the steps. `methods` are those of the table, `seeds` their fresh seeds, and `tuning` those of
    their grids.
    """

    data: str
    images: int | None
    network: str
    longer: int = 1
    methods: Sequence[str] = tuple(METHODS)
    seeds: range = SEEDS
    tuning: Sequence[range] = TUNING

    @property
    def members(self) -> int:
        """The runs of a method: those of its grid, and the fresh ones."""
        return len(RATES) * sum(map(len, self.tuning)) + len(self.seeds)

    @property
    def score(self) -> str:
        """The kernel distance on features of the set's own classifier."""
        return f"kd_{self.data.replace('-', '_')}"

    def __str__(self) -> str:
        return f"{self.data}-{self.images or 'all'}-{self.network}"


LATE = ("nsgan", "0gp", "fargan", "fargan-f1")
LATE_TABLE = Table("fashion-mnist", 100, "dcgan", 4, LATE)

CR = ("sn-cr", "gn-cr", "pgn-cr")
"""With consistency."""
PLAIN = tuple(method for method in METHODS if method not in CR)
TWINS = ("nsgan-nobn", "consensus")
CNN = tuple(method for method in PLAIN if method not in TWINS)
"""On GN's CNN. All of its generators have batch norm, so there these two are NSGAN and consensus with it."""

TABLES = (
    Table("fashion-mnist", None, "dcgan"),
    LATE_TABLE,
    Table("fashion-mnist", 1000, "dcgan", methods=PLAIN),
    Table("cifar10", None, "dcgan", methods=PLAIN, tuning=MORE_TUNING),
    Table("cifar10", 1000, "dcgan", methods=PLAIN, seeds=MORE_SEEDS, tuning=MOST_TUNING),
    Table("fashion-mnist", None, "gn_cnn", methods=CNN),
    Table("cifar10", None, "gn_cnn", methods=CNN, tuning=MORE_TUNING),
)
"""In the order in which they are run."""

TITLES = {"fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
NETWORKS = {"dcgan": "the small DCGAN", "gn_cnn": "GN's CNN"}


def described(table: Table) -> str:
    """A table in words: its set, how many images, and the network."""
    images = f"{table.images:,} images" if table.images else "all images"
    return f"{TITLES[table.data]}, {images}, {NETWORKS[table.network]}"
