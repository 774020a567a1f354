"""Pictures in files: grids of samples, scatter plots, phase portraits and eigenvalues."""
