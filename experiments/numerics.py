"""The figures of The Numerics of GANs (Mescheder 2017, its supplement): each one's runs, values and picture.

    python -m experiments.numerics FIGURE [KEY=VALUE...] [--scale tiny] [--seeds 3] [--data fashion_mnist]

Full size is days for each run. The scale tiny takes some minutes on two cores: 200 steps of narrow networks, which
shows that all runs through, and no more.
"""

from functools import partial

from benchmarks import script
from experiments.figures.command import main
from experiments.figures.declared import LEVELS, SCORES, Curves, Figure, Frames, Line, Panel, varied

RULES = {
    "simultaneous": ("dynamics=simultaneous",),
    "alternating": ("dynamics=alternating",),
    "consensus": (),
    "smoothing": ("dynamics.name=smoothing",),
}
"""What the columns of a figure change in a recipe, which is that of consensus."""

RATES = ("1e-5", "5e-5", "1e-4", "2e-4", "5e-4")
GAMMAS = ("0.01", "0.1", "1", "10", "100")
"""The grids of figures 12 to 14 are ours: the paper's are in its plots only."""


def panels(networks: dict[str, str], *rules: str) -> tuple[Panel, ...]:
    """A panel for each network of four stages, with a line for each rule."""
    return tuple(
        Panel(title, tuple(Line(rule, f"cifar10-numerics-{name}", RULES[rule]) for rule in rules))
        for title, name in networks.items()
    )


OTHERS = ("fashion_mnist",)
"""The digits' 8x8 pixels are too few for four stages, which need a side that is a multiple of 16."""

FOUR = {
    "DCGAN": "dcgan4-standard",
    "no batch norm": "dcgan4-nobn-standard",
    "constant filters": "dcgan4-nobn-cf-standard",
    "constant filters, JS": "dcgan4-nobn-cf-js",
}
DEEPER = {title: "-fc-".join(name.rsplit("-", 1)) for title, name in FOUR.items()}
"""The networks of figure 8: one more fully connected layer in D."""

FIGURES = {
    "fig6": Figure(
        "Numerics Fig. 6: samples of four networks under three rules",
        panels(FOUR, "simultaneous", "alternating", "consensus"),
        Frames(),
    ),
    "fig7": Figure("Numerics Fig. 7: four networks under four rules", panels(FOUR, *RULES)),
    "fig8": Figure(
        "Numerics Fig. 8: as Fig. 7, with one more fully connected layer in D", panels(DEEPER, *RULES)
    ),
    "fig9": Figure(
        "Numerics Fig. 9: consensus with three objectives",
        (
            Panel(
                "",
                tuple(
                    Line(name, f"cifar10-numerics-dcgan4-nobn-cf-{name}")
                    for name in ("standard", "js", "indicator")
                ),
            ),
        ),
        Frames(),
    ),
    "fig10": Figure(
        "Numerics Fig. 10: samples of faces from residual networks under three rules",
        (
            Panel(
                "",
                tuple(
                    Line(rule, "celeba64-numerics-resnet-standard", RULES[rule])
                    for rule in ("simultaneous", "alternating", "consensus")
                ),
            ),
        ),
        Frames(),
    ),
    "fig11": Figure(
        "Numerics Fig. 11: consensus without batch norm, alternating steps with it",
        (
            Panel(
                "CIFAR-10",
                (
                    Line("consensus, no batch norm", "cifar10-numerics-dcgan4-nobn-standard"),
                    Line("alternating, batch norm", "cifar10-numerics-dcgan4-standard", RULES["alternating"]),
                ),
            ),
        ),
        Curves((*LEVELS, *SCORES), LEVELS),
    ),
    "fig12": Figure(
        "Numerics Fig. 12: learning rates of alternating steps",
        (Panel("DCGAN", varied("cifar10-numerics-dcgan4-lr-alternating", "optimizer.lr", RATES)),),
    ),
    "fig13": Figure(
        "Numerics Fig. 13: learning rates of consensus",
        (
            Panel("3 stages, gamma .1", varied("cifar10-numerics-dcgan3-nobn-lr", "optimizer.lr", RATES)),
            Panel("4 stages, gamma 10", varied("cifar10-numerics-dcgan4-nobn-lr", "optimizer.lr", RATES)),
        ),
    ),
    "fig14": Figure(
        "Numerics Fig. 14: gamma of consensus",
        (
            Panel("3 stages", varied("cifar10-numerics-dcgan3-nobn-gamma", "dynamics.gamma", GAMMAS)),
            Panel("4 stages", varied("cifar10-numerics-dcgan4-nobn-gamma", "dynamics.gamma", GAMMAS)),
        ),
    ),
}

if __name__ == "__main__":
    script.run(partial(main, __doc__, "numerics", FIGURES, OTHERS))
