"""The tables of docs/survey.md, made from the figures."""

from collections.abc import Mapping

from experiments.pages import replaced, spread
from experiments.records import Record
from experiments.survey.settings import ORDERS, recipes

__all__ = ["page"]

Found = Mapping[str, Record]


def page(found: Found, text: str) -> str:
    """The page with its tables made anew, between the markers that name them."""
    for data in sorted({one["data"] for one in found.values()}):
        text = replaced(text, f"runs: {data}", orders(found) if data == "ring8" else losses(found, data))
    return text


def orders(found: Found) -> str:
    """What each order of turns does on the ring."""
    rows = [
        "| recipe | inner loop | modes at the end | second half | set changes, % | samples move, % |",
        "|---|---|---|---|---|---|",
    ]
    for name in ORDERS:
        if name in found:
            one = found[name]
            late = [sum(m[len(m) // 2 :]) / len(m[len(m) // 2 :]) for m in one["modes"]]
            cells = [spread([m[-1] for m in one["modes"]], 1), spread(late, 1)]
            cells += [spread(one[key], 0, 100) for key in ("changed", "moved")]
            rows.append(f"| `{name}` | {ORDERS[name]} | {' | '.join(cells)} |")
    return "\n".join(rows)


def losses(found: Found, data: str) -> str:
    """The score, the unlikeness of samples and the rank correlation of each pair of loss and generator."""
    rows = [
        "| recipe | steps | seeds | kd_pixels8 x 1000 | unlike, % of real | rank correlation |",
        "|---|---|---|---|---|---|",
    ]
    for name in recipes(data):
        if name in found:
            one = found[name]
            cells = [spread(one["score"], 1, 1000), spread(one["unlike"], 0, 100)]
            cells.append(spread(one["correlation"], 2))
            rows.append(f"| `{name}` | {one['steps']:,} | {len(one['score'])} | {' | '.join(cells)} |")
    return "\n".join(rows)
