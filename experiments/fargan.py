"""The figures and Table 2 of FARGAN (Tao and Wang 2020): each one's runs, values and picture.

    python -m experiments.fargan FIGURE [KEY=VALUE...] [--scale tiny] [--seeds 3] [--data fashion_mnist]

Points (fig1, fig2, fig9) take minutes at full size, images days for each run. The scale tiny takes some minutes on
two cores. It trains on points for fewer steps. It trains narrow networks on images for 200 steps, which shows that
all runs through, and no more.
"""

from functools import partial

from benchmarks import script
from experiments.figures.command import main
from experiments.figures.declared import LOSSES, Figure, Frames, Line, Panel, Table

CIFAR = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100"}
POINTS = ("steps=10000",)
"""What the scale tiny of points changes."""


def twins(name: str) -> tuple[Line, ...]:
    """0GP alone, and with fake-as-real."""
    return Line("NSGAN-0GP", f"{name}-0gp"), Line("FARGAN", f"{name}-fargan")


def sets(networks: str) -> tuple[Panel, ...]:
    return tuple(Panel(title, twins(f"{name}-{networks}")) for title, name in CIFAR.items())


VARIANTS = {"WGAN": "wgan", "HingeGAN": "hinge", "LSGAN": "lsgan"}
OF_32, OF_8 = (1, 2, 4, 8, 16), (8, 16, 24, 32, 40, 48)
RESNET = "cifar10-far-resnet"


def chosen(f: int, count: int) -> str:
    """The recipe of an ablation: its own name at f = 8 and N0 = 32."""
    if (f, count) == (8, 32):
        return f"{RESNET}-fargan"
    return f"{RESNET}-fargan-f{f}" if count == 32 else f"{RESNET}-fargan-n{count}"


ABLATION = (
    Panel(
        "N0 = 32, f varies",
        (
            Line("N0 = 0", f"{RESNET}-0gp"),
            *(Line(f"f = {f}", chosen(f, 32)) for f in OF_32),
        ),
    ),
    Panel(
        "f = 8, N0 varies",
        (
            Line("N0 = 0", f"{RESNET}-0gp"),
            *(Line(f"N0 = {count}", chosen(8, count)) for count in OF_8),
        ),
    ),
)


def row(title: str, name: str) -> tuple[Line, ...]:
    """A row of Table 2: two runs."""
    return Line(f"{title}, 0GP", f"{name}-0gp"), Line(f"{title}, FAR", f"{name}-fargan")


TABLE = (
    Panel(
        "CIFAR-10",
        (
            *row("ResNet NSGAN", RESNET),
            *(one for title, loss in VARIANTS.items() for one in row(f"ResNet {title}", f"{RESNET}-{loss}")),
            *row("Conventional NSGAN", "cifar10-far-conventional"),
        ),
    ),
    Panel(
        "CIFAR-100",
        (
            *row("ResNet NSGAN", "cifar100-far-resnet"),
            *row("Conventional NSGAN", "cifar100-far-conventional"),
        ),
    ),
    Panel("ImageNet 64x64", row("ResNet NSGAN", "imagenet64-far-resnet")),
)

FIGURES = {
    "fig1": Figure(
        "FARGAN Fig. 1: 100 points of a Gaussian at half of the run and at its end",
        (
            Panel(
                "",
                (
                    Line("NSGAN, no penalty", "gaussian-nsgan"),
                    Line("0GP-sample", "gaussian-0gp-sample"),
                    Line("0GP-interpolation", "gaussian-0gp-interpolation"),
                    Line("0GP-sample, fake-as-real", "gaussian-fargan"),
                ),
            ),
        ),
        Frames(("50%", "100%")),
        POINTS,
    ),
    "fig2": Figure(
        "FARGAN Fig. 2: eight Gaussians, at the paper's shares of the run",
        (Panel("", (Line("FARGAN", "ring8-fargan-paper"),)),),
        Frames(("0", "20%", "67%", "100%")),
        POINTS,
    ),
    "fig3": Figure("FARGAN Fig. 3: ResNet", sets("far-resnet")),
    "fig4": Figure("FARGAN Fig. 4: conventional networks", sets("far-conventional")),
    "fig5": Figure(
        "FARGAN Fig. 5: losses without penalties, ResNet", (Panel("CIFAR-10", twins(RESNET)),), LOSSES
    ),
    "fig6": Figure(
        "FARGAN Fig. 6: other losses, ResNet on CIFAR-10",
        tuple(Panel(title, twins(f"{RESNET}-{loss}")) for title, loss in VARIANTS.items()),
    ),
    "fig7": Figure("FARGAN Fig. 7: f and N0, ResNet on CIFAR-10", ABLATION),
    "fig8": Figure(
        "FARGAN Fig. 8: ImageNet, ResNet", (Panel("ImageNet 64x64", twins("imagenet64-far-resnet")),)
    ),
    "fig10": Figure("FARGAN Fig. 10: DCGAN-like networks", sets("dcgan")),
    "fig11": Figure(
        "FARGAN Fig. 11: losses without penalties, ResNet",
        (Panel("CIFAR-100", twins("cifar100-far-resnet")),),
        LOSSES,
    ),
    "fig12": Figure(
        "FARGAN Fig. 12: losses without penalties, ResNet",
        (Panel("ImageNet 64x64", twins("imagenet64-far-resnet")),),
        LOSSES,
    ),
    "fig13": Figure("FARGAN Fig. 13: samples of CIFAR-10", (Panel("", twins(RESNET)),), Frames()),
    "fig14": Figure(
        "FARGAN Fig. 14: samples of CIFAR-100", (Panel("", twins("cifar100-far-resnet")),), Frames()
    ),
    "fig15": Figure(
        "FARGAN Fig. 15: samples of ImageNet", (Panel("", twins("imagenet64-far-resnet")),), Frames()
    ),
    "table2": Figure("FARGAN Table 2: scores at the end", TABLE, Table()),
}

if __name__ == "__main__":
    script.run(partial(main, __doc__, "fargan", FIGURES))
