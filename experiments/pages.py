"""What the pages have in common: figures as mean ± deviation, and the part of a page that a script writes."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def spread(values: Sequence[float], digits: int, scale: float = 1.0) -> str:
    """Mean ± standard deviation; of one value that alone.

    >>> spread([1.0, 3.0], 1), spread([2.0], 1, 10), spread([], 1)
    ('2.0 ± 1.4', '20.0', '')
    """
    scaled = [scale * v for v in values]
    if not scaled:
        return ""
    around = f" ± {statistics.stdev(scaled):.{digits}f}" if len(scaled) > 1 else ""
    return f"{statistics.fmean(scaled):z.{digits}f}{around}"


def replaced(text: str, mark: str, made: str) -> str:
    """A page with what stands between <!-- mark --> and the next <!-- end --> made anew.

    >>> replaced("a <!-- b -->\\nold\\n<!-- end --> c", "b", "new")
    'a <!-- b -->\\nnew\\n<!-- end --> c'
    """
    pattern = rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{made}\n{m[2]}", text, flags=re.S)
