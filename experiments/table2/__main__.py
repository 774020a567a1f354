"""The program of experiments.table2.run under the study's own name.

    python -m experiments.table2 [--paper] [--only PATTERN] [--minutes N] [--page]
"""

from benchmarks import script
from experiments.table2.run import main

if __name__ == "__main__":
    script.run(main)
