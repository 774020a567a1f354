"""python -m steadygan: the command line."""

from steadygan.cli.app import main

main()
