"""The command of the study: `python -m experiments.table2`, see experiments.table2.run."""

from benchmarks import script
from experiments.table2.run import main

if __name__ == "__main__":
    script.run(main)
