"""Scores: of points in the plane while they train, of two sample sets by a kernel, of modes by a classifier."""

from steadygan.metrics.classifier import Classifier
from steadygan.metrics.clusters import purity
from steadygan.metrics.extractors import EXTRACTORS, of_classifier, score_name
from steadygan.metrics.kernel import kernel_distance, pooled_pixels
from steadygan.metrics.plane import points_scores
from steadygan.metrics.points import (
    close_pairs,
    finite_gaussian,
    generator_gradient,
    modes,
    smallest_gap,
    unbalance,
)
from steadygan.metrics.stacked import expected_kl, expected_modes, stacked_modes
from steadygan.metrics.transport import sliced_wasserstein2, wasserstein1, wasserstein2

__all__ = [
    "EXTRACTORS",
    "Classifier",
    "close_pairs",
    "expected_kl",
    "expected_modes",
    "finite_gaussian",
    "generator_gradient",
    "kernel_distance",
    "modes",
    "of_classifier",
    "points_scores",
    "pooled_pixels",
    "purity",
    "score_name",
    "sliced_wasserstein2",
    "smallest_gap",
    "stacked_modes",
    "unbalance",
    "wasserstein1",
    "wasserstein2",
]
