"""Training: optimiser, data, trainer and conversions. Not installed with the package: run it from the repository."""
