"""The statements of the source papers, as functions.

`check_lemma9(seed)` draws random cases and returns a `Verdict`; `lemma9_bound` computes one side of the lemma.
"""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.theory.fargan import (
        check_definition1,
        check_eqn3,
        check_eqn5,
        check_eqn11,
        check_proposition1,
        definition1,
        eqn5,
        eqn11,
        proposition1,
    )
    from steadygan.theory.fargan_optimum import (
        check_eqn30,
        check_proposition2,
        check_proposition3,
        eqn30,
        proposition2,
        proposition3,
    )
    from steadygan.theory.numerics_batches import check_debiased, check_lemma15, debiased, lemma15_bias
    from steadygan.theory.numerics_consensus import (
        check_corollary8,
        check_lemma7,
        check_lemma9,
        consensus_matrix,
        lemma9_bound,
        lemma9_constant,
        lemma9_ratio,
    )
    from steadygan.theory.numerics_games import check_corollary2, check_lemma1
    from steadygan.theory.numerics_modified import (
        check_corollary12,
        check_eqn41,
        check_lemma11,
        check_proposition13,
        corollary12_stable,
        eqn41,
        lemma11_eigenvalues,
        momentum_matrix,
    )
    from steadygan.theory.numerics_rules import check_corollary5, check_proposition14, proposition14_jacobian
    from steadygan.theory.numerics_steps import (
        check_lemma4,
        check_lemma6,
        check_numerics_proposition3,
        check_proposition10,
        lemma4_largest_step,
        lemma6_jacobian,
    )
    from steadygan.theory.pgn import (
        check_hinge,
        check_lemma3,
        check_theorem5,
        check_theorem6,
        lemma3,
        theorem5,
        theorem6_bound,
        theorem6_gradient,
    )
    from steadygan.theory.pgn_proof import check_eqn14, check_eqn26, eqn14, eqn26
    from steadygan.theory.statements import STATEMENTS, Statement, surprises, verify
    from steadygan.theory.survey_divergences import (
        check_jensen_shannon,
        check_kl_less_jsd,
        check_optimal_discriminator,
        jensen_shannon,
        kullback_leibler,
        optimal_logits,
    )
    from steadygan.theory.survey_wasserstein import (
        check_clipping,
        check_kantorovich,
        check_parallel_lines,
        clipping_bound,
        kantorovich,
        parallel_lines,
    )
    from steadygan.theory.verdicts import Verdict

__all__ = [
    "STATEMENTS",
    "Statement",
    "Verdict",
    "check_clipping",
    "check_corollary2",
    "check_corollary5",
    "check_corollary8",
    "check_corollary12",
    "check_debiased",
    "check_definition1",
    "check_eqn3",
    "check_eqn5",
    "check_eqn11",
    "check_eqn14",
    "check_eqn26",
    "check_eqn30",
    "check_eqn41",
    "check_hinge",
    "check_jensen_shannon",
    "check_kantorovich",
    "check_kl_less_jsd",
    "check_lemma1",
    "check_lemma3",
    "check_lemma4",
    "check_lemma6",
    "check_lemma7",
    "check_lemma9",
    "check_lemma11",
    "check_lemma15",
    "check_numerics_proposition3",
    "check_optimal_discriminator",
    "check_parallel_lines",
    "check_proposition1",
    "check_proposition2",
    "check_proposition3",
    "check_proposition10",
    "check_proposition13",
    "check_proposition14",
    "check_theorem5",
    "check_theorem6",
    "clipping_bound",
    "consensus_matrix",
    "corollary12_stable",
    "debiased",
    "definition1",
    "eqn5",
    "eqn11",
    "eqn14",
    "eqn26",
    "eqn30",
    "eqn41",
    "jensen_shannon",
    "kantorovich",
    "kullback_leibler",
    "lemma3",
    "lemma4_largest_step",
    "lemma6_jacobian",
    "lemma9_bound",
    "lemma9_constant",
    "lemma9_ratio",
    "lemma11_eigenvalues",
    "lemma15_bias",
    "momentum_matrix",
    "optimal_logits",
    "parallel_lines",
    "proposition1",
    "proposition2",
    "proposition3",
    "proposition14_jacobian",
    "surprises",
    "theorem5",
    "theorem6_bound",
    "theorem6_gradient",
    "verify",
]

__getattr__, __dir__ = lazy(__name__)
