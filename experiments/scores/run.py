"""How scores answer to known damage: noise, blur, missing classes, copies of training images.

    python -m experiments.scores.run [--sets fashion-mnist cifar10] [--extractors lite0 own] [--images 1000]
        [--data-root DIR] [--runs runs/scores]

The generator is the published test set, which no score may call bad, damaged step by step, and compared with as many
training images; the memorisation check takes as many other training images for held out. `own` is the set's
classifier. damages.CLAIMS says beforehand how each score must answer, and what did not is printed and written down.
Each image is read once, and its features kept in --runs, so that an interrupted run goes on where it was: lite0 takes
about 16 ms an image on a core, 5 times 1,000 images a damage. Figures go to figures.jsonl, a line for each
curve, from which the picture docs/scores.png and the tables in docs/scores.md are made.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks import script
from experiments import records
from experiments.pages import DOCS, replaced
from experiments.scores.damages import DAMAGES, Source, exceptions, source, untouched
from experiments.scores.page import curves, draw, tables
from steadygan.data import Data, cifar10, fashion_mnist
from steadygan.files import write_whole
from steadygan.metrics import Card, Extractor, Protocol, Read, describe, evaluate, read_card
from steadygan.runs import classifiers

FIGURES = Path(__file__).parent / "figures.jsonl"
SETS = {"fashion-mnist": fashion_mnist, "cifar10": cifar10}

Records = dict[str, records.Record]


# ------------------------------------------------------------------------------------------------------- measuring


class Kept:
    """An extractor that reads an image once, whatever set it comes in; what it says of it is kept in a folder."""

    def __init__(self, look: Extractor, folder: Path) -> None:
        self.look, self.folder = look, folder / f"{look.name}-{look.sha256[:8]}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows: dict[bytes, Tensor] = {}
        for file in sorted(self.folder.glob("*.safetensors")):
            try:
                self._take(load_file(file))
            except SafetensorError:  # cut off
                file.unlink()
        self.extractor = look._replace(read=self.read)

    def read(self, x: Tensor) -> Read:
        """Features and logits of images, those that were read before from what was kept."""
        keys = [hashlib.blake2b(one.numpy().tobytes(), digest_size=16).digest() for one in x.contiguous()]
        if new := {key: i for i, key in enumerate(keys) if key not in self.rows}:
            features, logits = self.look.read(x[list(new.values())])
            rows = features if logits is None else torch.cat([features, logits], 1)
            names = torch.tensor([list(key) for key in new], dtype=torch.uint8)
            part = {"keys": names, "rows": rows.contiguous()}
            save_file(part, self.folder / f"{names[0, :8].numpy().tobytes().hex()}.safetensors")
            self._take(part)
        found = torch.stack([self.rows[key] for key in keys])
        features, logits = found[:, : self.look.size], found[:, self.look.size :]
        return Read(features, logits if logits.shape[1] else None)

    def _take(self, part: dict[str, Tensor]) -> None:
        self.rows |= {
            row.numpy().tobytes(): found for row, found in zip(*(part[k] for k in ("keys", "rows")))
        }


def scored(x: Tensor, data: Data, look: Extractor, file: Path) -> Card:
    """The card of images [n, ..], one after the other, as `steadygan.metrics.evaluate` makes it; kept in `file`."""
    done = 0

    def in_turn(count: int) -> Tensor:
        nonlocal done
        done += count
        return x[done - count : done]

    protocol = Protocol(look, generated=len(x), weights="images", batch_norm="images")
    subject = {"images": file.stem, "sha256": hashlib.sha256(x.numpy().tobytes()).hexdigest()}
    if file.exists():
        card = read_card(json.loads(file.read_text()))
        if card.subject == subject and card.protocol == describe(protocol, data):
            return card
    card = evaluate(in_turn, data, protocol, subject=subject, batch=96)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(card.plain()))
    return card


def measured(name: str, which: str, made: Source, look: Extractor, folder: Path) -> Records:
    """The cards of all damages of one set through one extractor, as curves; and fd of fewer untouched images."""
    data = Data(name, tuple(made.held.shape[1:]), rows=made.train, held=lambda: made.held)
    n, clean = len(made.train), untouched(made)

    def card(x: Tensor, what: str) -> Card:
        print(name, which, what, flush=True)
        return scored(x, data, look, folder / f"{which}-{n}" / f"{what}.json")

    first = card(clean, "untouched")
    found: Records = {f"protocol {name} {which}": dict(first.protocol)}
    for damage, (_, levels, make) in DAMAGES.items():
        cards = [first, *(card(make(made, level), f"{damage} {level}") for level in levels[1:])]
        for key in first.scores:
            score, _, through = key.partition("_")
            known = {"set": name, "extractor": which if through == look.name else through}
            known |= {"damage": damage, "score": score}
            values, errors = zip(*(one.scores[key] for one in cards), strict=True)
            found[" ".join(("curve", *known.values()))] = {**known, "values": values, "errors": errors}
    fewer = {count: card(clean[:count], f"untouched {count}") for count in (n // 4, n // 2)}
    fds = {str(count): one.scores[f"fd_{look.name}"] for count, one in {**fewer, n: first}.items()}
    return {**found, f"fewer {name} {which}": {"set": name, "extractor": which, "fd": fds}}


def compared(options: argparse.Namespace) -> Records:
    """The figures of all sets and extractors."""
    levels = {damage: each.levels for damage, each in DAMAGES.items()}
    figures: Records = {"settings": json.loads(json.dumps({"images": options.images, "levels": levels}))}
    for name in options.sets:
        parts = [SETS[name](options.data_root, split) for split in ("train", "test")]
        made = source(*parts, options.images)
        for which in options.extractors:
            chosen = name if which == "own" else which
            look = classifiers.named_extractor(chosen, parts[0].shape[0], print)
            kept = Kept(look, options.runs / name)
            found = measured(name, which, made, kept.extractor, options.runs / name)
            figures = {**found, **figures}  # the memorisation check does not look through the extractor
    return figures


def main() -> None:
    parser = script.parser(__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--extractors", nargs="*", default=["lite0", "own"], choices=["lite0", "own"])
    parser.add_argument(
        "--images", type=script.positive, default=1000, help="of the generator, and as many real ones"
    )
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--runs", type=Path, default=Path("runs/scores"), help="keeps what has been read")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="where figures are kept")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the picture and the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    figures = compared(options)
    for each in exceptions(curves(figures)):
        print("not as it must be:", *each.values())
    before = records.read(options.figures)
    if before.get("settings") == figures["settings"]:  # of the other sets and extractors
        figures = {**before, **figures}
    records.write(options.figures, figures)
    draw(curves(figures), options.out / "scores.png")
    made = tables(figures)
    (options.out / "scores.md").write_text(replaced((DOCS / "scores.md").read_text(), "scores", made))


if __name__ == "__main__":
    script.run(main)
