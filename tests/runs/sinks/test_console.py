"""What the terminal shows."""

import io

from rich.console import Console

from steadygan.runs.sinks import compiling


def test_compiling_is_one_line_in_a_file_and_a_bar_with_seconds_in_a_terminal():
    said = {}
    for terminal in (False, True):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=120)
        with compiling(console):
            pass
        said[terminal] = file.getvalue()
    assert said[False] == "compiling the step: 10 to 30 s, once for these settings ...\n"
    assert "compiling the step" in said[True]
    assert "0:00:00" in said[True]
