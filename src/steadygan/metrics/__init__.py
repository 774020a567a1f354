"""Scores: of points in the plane while they train, and of two sample sets by a kernel."""

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

__all__ = [
    "close_pairs",
    "finite_gaussian",
    "generator_gradient",
    "kernel_distance",
    "modes",
    "pooled_pixels",
    "purity",
    "smallest_gap",
    "unbalance",
]
