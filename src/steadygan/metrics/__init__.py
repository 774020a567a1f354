"""Scores: of points in the plane while they train, of images by their features, of modes by a classifier."""

from steadygan.metrics.classifier import Classifier
from steadygan.metrics.clusters import purity
from steadygan.metrics.extractor import Extractor, Read, Score
from steadygan.metrics.inception import inception_score
from steadygan.metrics.kernel import kernel_distance, pooled_pixels
from steadygan.metrics.moments import Moments, frechet_distance
from steadygan.metrics.neighbours import density_coverage, memorisation, nearest, precision_recall
from steadygan.metrics.points import (
    close_pairs,
    finite_gaussian,
    generator_gradient,
    modes,
    smallest_gap,
    unbalance,
)
from steadygan.metrics.stacked import expected_kl, expected_modes, stacked_modes
from steadygan.metrics.summary import Summary, scores

__all__ = [
    "Classifier",
    "Extractor",
    "Moments",
    "Read",
    "Score",
    "Summary",
    "close_pairs",
    "density_coverage",
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
    "pooled_pixels",
    "precision_recall",
    "purity",
    "scores",
    "smallest_gap",
    "stacked_modes",
    "unbalance",
]
