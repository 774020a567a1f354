"""The code of a remedy for your own training loop, by its line of configuration."""

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
        "for D, replace 16 of x_real by fake_as_real.select(D, G(more_z), 16)"
    ),
}
"""Code by the configuration of a remedy. A remedy that is missing here has no function for a loop to call."""


def in_a_loop(verdict: Verdict) -> str:
    """The verdict's remedy as a sentence: the code to write in a loop, or else the recipe's setting.

    >>> print(in_a_loop(Verdict("hopping", 0, (), "use R1", "critic.penalties=[{name: r1, weight: 1}]")))
    use R1: loss_D = loss_D + penalties.r1(D, x_real) (functions of steadygan).
    """
    code = IN_A_LOOP.get(verdict.config)
    if code:
        return f"{verdict.remedy}: {code} (functions of steadygan)."
    if not verdict.config:
        return f"{verdict.remedy}." if verdict.remedy else "no remedy is known."
    return f"{verdict.remedy} (in a recipe: {verdict.config})."
