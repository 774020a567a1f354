"""The methods of experiments.table2: each with the generator normalization and the weights of its source."""

from collections.abc import Mapping
from typing import Any, NamedTuple

RATES = (1e-4, 2e-4, 5e-4, 1e-3)
"""The learning rates of the grid, of both players, for every method."""

WIDTHS = {"dcgan": 8, "gn_cnn": 4}
"""The architectures, and their widths."""


class Method(NamedTuple):
    """A row of the tables: its name, whether its source has batch norm in G, and what it adds to a plain GAN."""

    name: str
    source: str
    batch_norm: bool
    added: Mapping[str, Any] = {}


def penalized(**weights: float) -> dict[str, Any]:
    return {"critic": {"penalties": [{"name": name, "weight": each} for name, each in weights.items()]}}


def normalized(name: str, consistency: float = 0, **given: Any) -> dict[str, Any]:
    """A normalized critic with the hinge loss, and with consistency (CR) of this weight."""
    critic = {"normalization": {"name": name, **given}}
    if consistency:
        critic["consistency"] = [{"name": "cr", "weight": consistency}]
    return {"game": {"name": "gan", "loss": "hinge"}, "critic": critic}


def far(count: float, pool: int) -> dict[str, Any]:
    """Fake-as-real with a share of the batch as N0, and R1 at weight 10."""
    return {**penalized(r1=10), "fake_as_real": {"count": count, "pool": pool}}


CONSENSUS = {"dynamics": {"name": "consensus", "gamma": 0.1}}
GP = {
    "game": {"name": "gan", "loss": "wasserstein"},
    "critic": {"penalties": [{"name": "one_centered", "weight": 10}]},
    "dynamics": {"name": "alternating", "n_critic": 5},
}
R3 = {"game": {"name": "gan", "loss": "relativistic"}, **penalized(r1=0.5, r2=0.5)}
PGN = "penalty_gradient_normalized"

METHODS: dict[str, Method] = {
    "nsgan": Method("NSGAN", "Goodfellow 2014, Radford 2015", True),
    "0gp": Method("0GP (R1)", "Mescheder 2018", False, penalized(r1=10)),
    "gn": Method("GN", "Wu 2021", True, normalized("gradient_normalized")),
    "pgn": Method("PGN, elementwise", "Xia 2023", True, normalized(PGN, reading="elementwise")),
    "sn": Method("SN", "Miyato 2018", True, normalized("spectral_normalized")),
    "fargan": Method("FARGAN, f = 8", "Tao and Wang 2020", False, far(0.5, 8)),
    "r3gan": Method("R3GAN's loss", "Huang 2024", False, R3),
    "nsgan-nobn": Method("NSGAN, no batch norm", "Mescheder 2017", False),
    "wgan-gp": Method("WGAN-GP", "Gulrajani 2017", True, GP),
    "consensus": Method("consensus, no batch norm", "Mescheder 2017", False, CONSENSUS),
    "pgn-proof": Method("PGN, proof", "Xia 2023", True, normalized(PGN, reading="proof")),
    "fargan-f1": Method("FARGAN, f = 1", "Tao and Wang 2020", False, far(0.5, 1)),
    "consensus-bn": Method("consensus, batch norm", "Mescheder 2017", True, CONSENSUS),
    "pgn-scalar": Method("PGN, scalar", "Xia 2023", True, normalized(PGN, reading="scalar")),
    "fargan-n75": Method("FARGAN, N0 = 3/4 of a batch", "Tao and Wang 2020", False, far(0.75, 8)),
    "sn-cr": Method("SN, CR", "Zhang 2020", True, normalized("spectral_normalized", 10)),
    "gn-cr": Method("GN, CR", "Wu 2021", True, normalized("gradient_normalized", 5)),
    "pgn-cr": Method("PGN, elementwise, CR", "Xia 2023", True, normalized(PGN, 5, reading="elementwise")),
}
"""In the order in which they are run."""

FALLING = ("pgn", "pgn-proof", "pgn-scalar", "pgn-cr")  # whose f is low on real images: f^ has 1 - f above


def configured(method: str, network: str, batch: int, width: int) -> dict[str, Any]:
    """A method's configuration, but for its data, its rates, its seeds and how long it lasts."""
    known = METHODS[method]
    choices = {"batch_norm": known.batch_norm} if network == "dcgan" else {"init": "kaiming"}
    made = {
        "networks": {"name": network, "latent": 64, "width": width, **choices},
        "ema": {"decay": 0.995},
        "batch": batch,
        **known.added,
    }
    if "fake_as_real" in made:
        share = made["fake_as_real"]["count"]
        made["fake_as_real"] = {**made["fake_as_real"], "count": round(share * batch)}
    return made
