"""A remedy's line of configuration as what one writes in a loop of one's own."""

from steadygan.diagnostics.verdicts import Verdict

__all__ = ["IN_A_LOOP", "in_a_loop"]

IN_A_LOOP = {
    "critic.penalties=[{name: r1, weight: 1}]": "loss_D = loss_D + penalties.r1(D, x_real)",
    "critic.penalties=[{name: r1, weight: 10}, {name: r2, weight: 10}]": (
        "loss_D = loss_D + 10 * (penalties.r1(D, x_real) + penalties.r2(D, x_fake))"
    ),
    "critic={penalties: [{name: one_centered, weight: 1}]}": (
        "loss_D = loss_D + penalties.one_centered(D, x_real, x_fake)"
    ),
    "game.loss=non_saturating": "loss_G = losses.non_saturating.generator(D(G(z)))",
    "game.loss=relativistic": (
        "losses.relativistic.discriminator(D(x_real), D(x_fake)) and losses.relativistic.generator(D(G(z)), D(x_real))"
    ),
    "fake_as_real={count: 16, pool: 8}": (
        "for D, put fake_as_real.select(D, G(more_z), 16) in the place of 16 of x_real"
    ),
}
"""By the configuration of a remedy; what is missing here has no function that a loop could call."""


def in_a_loop(verdict: Verdict) -> str:
    """The verdict's remedy in a sentence: what to write in a loop, or else what a recipe would say.

    >>> print(in_a_loop(Verdict("hopping", 0, (), "use R1", "critic.penalties=[{name: r1, weight: 1}]")))
    use R1: loss_D = loss_D + penalties.r1(D, x_real), with steadygan's.
    """
    code = IN_A_LOOP.get(verdict.config)
    if code:
        return f"{verdict.remedy}: {code}, with steadygan's."
    return f"{verdict.remedy} (in a recipe: {verdict.config})." if verdict.remedy else "no remedy is known."
