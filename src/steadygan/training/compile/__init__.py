"""How a step becomes one program: compilation, and the graph passes that make it faster."""
