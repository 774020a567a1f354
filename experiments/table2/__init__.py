"""Ten methods on CIFAR-10 and Fashion-MNIST: docs/results.md."""
