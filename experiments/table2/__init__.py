"""Methods on CIFAR-10 and Fashion-MNIST, each at its own learning rate: docs/results.md."""
