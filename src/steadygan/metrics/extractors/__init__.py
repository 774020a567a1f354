"""Feature extractors: pooled pixels, EfficientNet-Lite0, Inception, and classifiers of a data set."""
