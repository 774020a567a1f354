"""Scores: of points in the plane while they train, of two sample sets by a kernel, of modes by a classifier."""

from steadygan.metrics.classifier import Classifier
from steadygan.metrics.clusters import purity
from steadygan.metrics.kernel import kernel_distance, pooled_pixels
from steadygan.metrics.points import (
    close_pairs,
    finite_gaussian,
    generator_gradient,
    modes,
    smallest_gap,
    unbalance,
)
from steadygan.metrics.stacked import expected_kl, expected_modes, stacked_modes

__all__ = [
    "Classifier",
    "close_pairs",
    "expected_kl",
    "expected_modes",
    "finite_gaussian",
    "generator_gradient",
    "kernel_distance",
    "modes",
    "pooled_pixels",
    "purity",
    "smallest_gap",
    "stacked_modes",
    "unbalance",
]
