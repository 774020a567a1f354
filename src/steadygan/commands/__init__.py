"""What the subcommands do, one module each. `steadygan.cli` parses their arguments."""
