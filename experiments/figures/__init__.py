"""The papers' figures and tables as comparisons: which runs, training them, and one picture of each."""
