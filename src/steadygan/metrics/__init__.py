"""Scores of points in the plane, of images by their features, and of modes by a classifier."""

from typing import TYPE_CHECKING

from steadygan._lazy import lazy

if TYPE_CHECKING:
    from steadygan.metrics.cluster_purity import purity
    from steadygan.metrics.evaluation import Protocol, describe, evaluate, summarised
    from steadygan.metrics.extractors.base import Extractor, Read, Score
    from steadygan.metrics.extractors.classifier import Classifier
    from steadygan.metrics.extractors.registry import EXTRACTORS, of_classifier, score_name
    from steadygan.metrics.feature_scores import SCORES, Summary, scores
    from steadygan.metrics.frechet import Moments, frechet_distance
    from steadygan.metrics.inception import inception_score
    from steadygan.metrics.kernel import kernel_distance, pooled_pixels
    from steadygan.metrics.neighbours import density_coverage, memorisation, nearest, precision_recall
    from steadygan.metrics.points import (
        close_pairs,
        finite_gaussian,
        generator_gradient,
        modes,
        points_scores,
        smallest_gap,
        unbalance,
    )
    from steadygan.metrics.score_card import Card, Comparison, compare, read_card
    from steadygan.metrics.stacked import expected_kl, expected_modes, stacked_modes
    from steadygan.metrics.transport import sliced_wasserstein2, wasserstein1, wasserstein2

__all__ = [
    "EXTRACTORS",
    "SCORES",
    "Card",
    "Classifier",
    "Comparison",
    "Extractor",
    "Moments",
    "Protocol",
    "Read",
    "Score",
    "Summary",
    "close_pairs",
    "compare",
    "density_coverage",
    "describe",
    "evaluate",
    "expected_kl",
    "expected_modes",
    "finite_gaussian",
    "frechet_distance",
    "generator_gradient",
    "inception_score",
    "kernel_distance",
    "memorisation",
    "modes",
    "nearest",
    "of_classifier",
    "points_scores",
    "pooled_pixels",
    "precision_recall",
    "purity",
    "read_card",
    "score_name",
    "scores",
    "sliced_wasserstein2",
    "smallest_gap",
    "stacked_modes",
    "summarised",
    "unbalance",
    "wasserstein1",
    "wasserstein2",
]

__getattr__, __dir__ = lazy(__name__)
