"""The tables and the samples of PGN-GAN (Xia 2023): each one's runs, values and picture.

    python -m experiments.pgn FIGURE [KEY=VALUE...] [--scale tiny] [--seeds 3] [--data fashion_mnist]

Full size is days for each run. The scale tiny takes some minutes on two cores: 200 steps of narrow networks, which
shows that all runs through, and no more. AutoGAN, E2GAN and aw-SN-GAN are other papers' systems and are not run.
At full size Inception scores all rows of Tables II, IV and V, as PGN-GAN's own; its weights are downloaded.
"""

from functools import partial

from benchmarks import script
from experiments.figures.command import main
from experiments.figures.declared import Figure, Frames, Line, Panel, Table

METHODS = {
    "SN-GAN": "sn",
    "SN-GAN-CR": "sn-cr",
    "GN-GAN": "gn",
    "GN-GAN-CR": "gn-cr",
    "PGN-GAN": "pgn",
    "PGN-GAN-CR": "pgn-cr",
}
BEST = ("evaluation={extractor: inception, images: 50000, reference: train}", "keep.best=fid")
"""The protocol of PGN's own rows: the best checkpoint by FID, of 50,000 samples against all training images."""

NETWORKS = {"Standard CNN": "gn-cnn", "ResNet": "gn-resnet"}


def lines(name: str, *methods: str) -> tuple[Line, ...]:
    return tuple(Line(method, f"{name}-{METHODS[method]}") for method in methods)


def benchmark(data: str, *more: Line) -> tuple[Panel, ...]:
    """A panel for each kind of networks; `more` are lines of the residual ones alone."""
    cnn, resnet = (lines(f"{data}-{name}", *METHODS) for name in NETWORKS.values())
    return tuple(Panel(title, rows) for title, rows in zip(NETWORKS, (cnn, (*more, *resnet))))


def samples(data: str) -> tuple[Panel, ...]:
    """PGN-GAN with and without consistency, of both kinds of networks."""
    return tuple(
        Panel(title, lines(f"{data}-{name}", "PGN-GAN", "PGN-GAN-CR")) for title, name in NETWORKS.items()
    )


FACES = {"CelebA-HQ 128": "celebahq128-gn-resnet", "CelebA-HQ 256": "celebahq256-gn-resnet"}

FIGURES = {
    "table2": Figure(
        "PGN-GAN Table II: CIFAR-10",
        benchmark("cifar10", Line("WGAN-GP", "cifar10-gn-resnet-wgan-gp")),
        Table(),
        scored=BEST,
    ),
    "table4": Figure("PGN-GAN Table IV: STL-10", benchmark("stl10"), Table(), scored=BEST),
    "table5": Figure(
        "PGN-GAN Table V: CIFAR-10, conditional",
        (
            Panel(
                "BigGAN's networks",
                (
                    Line("BigGAN", "cifar10-biggan-sn"),
                    Line("GN-BigGAN-CR", "cifar10-biggan-gn-cr"),
                    Line("PGN-BigGAN-CR", "cifar10-biggan-pgn-cr"),
                ),
            ),
        ),
        Table(),
        scored=BEST,
    ),
    "table6": Figure(
        "PGN-GAN Table VI: CelebA-HQ",
        tuple(Panel(title, lines(name, "PGN-GAN", "GN-GAN", "SN-GAN")) for title, name in FACES.items()),
        Table(),
    ),
    "fig1": Figure(
        "PGN-GAN Fig. 1: samples of CelebA-HQ 128",
        (Panel("", lines(FACES["CelebA-HQ 128"], "PGN-GAN")),),
        Frames(),
    ),
    "fig2": Figure(
        "PGN-GAN Fig. 2 and 5 to 8: samples of CelebA-HQ 256",
        (Panel("", lines(FACES["CelebA-HQ 256"], "PGN-GAN")),),
        Frames(),
    ),
    "fig3": Figure("PGN-GAN Fig. 3: samples of CIFAR-10", samples("cifar10"), Frames()),
    "fig4": Figure("PGN-GAN Fig. 4: samples of STL-10", samples("stl10"), Frames()),
}

if __name__ == "__main__":
    script.run(partial(main, __doc__, "pgn", FIGURES))
