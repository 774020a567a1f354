"""How long a browser takes to open the report on many runs: copies of one short run, with other seeds.

    python -m benchmarks.report [--runs 50] [--repeats 5] [--of RUN]

Trains ring8-0gp for 2,000 steps, or takes the run folder that --of names. Opens the page on its copies in chromium
(apt-get install chromium chromium-driver) from a file. Prints medians of the browser's own times since the navigation
began (Performance API): the first words are painted, all is loaded, and the first frame after that is drawn.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks import script
from steadygan import config
from steadygan.errors import UsageError
from steadygan.recipes.catalogue import find_recipe
from steadygan.report.page import page
from steadygan.report.run_summary import Reader
from steadygan.runs.folder import CHECKPOINTS, CONFIG
from steadygan.runs.train import start

TIMES = """
const done = arguments[0];
const drawn = () => requestAnimationFrame(() => setTimeout(() => {
  const [loading] = performance.getEntriesByType("navigation");
  const [painted] = performance.getEntriesByName("first-contentful-paint");
  done([painted ? painted.startTime : NaN, loading.loadEventEnd, performance.now()]);
}));
if (document.readyState === "complete") drawn(); else addEventListener("load", () => setTimeout(drawn));
"""
NAMES = ("first paint", "loaded", "drawn")


def trained(folder: Path) -> Path:
    """A short run with samples and landscapes."""
    settings = config.parse({**find_recipe("ring8-0gp")[1], "steps": 2000, "compile": False})
    start(settings, folder, Console(quiet=True))
    return folder


def copies(run: Path, folder: Path, count: int) -> list[Path]:
    """Copies of a run folder that differ by their seeds."""
    found = [folder / f"seed-{seed}" for seed in range(count)]
    raw = yaml.safe_load((run / CONFIG).read_text())
    for seed, place in enumerate(found):
        shutil.copytree(run, place, ignore=shutil.ignore_patterns(CHECKPOINTS))
        (place / CONFIG).write_text(yaml.safe_dump({**raw, "seed": seed}))
    return found


def browser() -> Any:
    """Chromium without a window, which answers before the page is loaded."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        raise UsageError("no chromium or no chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.page_load_strategy = "none"
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(word)
    return webdriver.Chrome(options=options, service=Service(driver))


def opened(window: Any, address: str) -> list[float]:
    """The times of one opening, in seconds."""
    window.get("about:blank")
    time.sleep(0.5)
    window.get(address)
    while window.execute_script("return location.href") != address:
        time.sleep(0.01)
    return [each / 1000 for each in window.execute_async_script(TIMES)]


def main() -> None:
    """Print the size of the page, how long it takes to write, and the browser's times."""
    parser = script.parser(__doc__)
    parser.add_argument("--runs", type=script.positive, default=50)
    parser.add_argument("--repeats", type=script.positive, default=5)
    parser.add_argument("--of", type=Path, help="run folder to copy")
    chosen = parser.parse_args()
    if chosen.of and not chosen.of.is_dir():
        raise UsageError(f"--of {chosen.of} is no folder: give that of a run")
    with tempfile.TemporaryDirectory() as place:
        run = chosen.of or trained(Path(place, "run"))
        runs = copies(run, Path(place, "copies"), chosen.runs)
        began = time.process_time()
        text = page([Reader(each).read() for each in runs])
        print(
            f"{chosen.runs} runs: {len(text.encode()) / 1e6:.1f} MB, written in {time.process_time() - began:.1f} s"
        )
        file = Path(place, "report.html")
        file.write_text(text)
        window = browser()
        times = [opened(window, file.as_uri()) for _ in range(chosen.repeats)]
        window.quit()
    for name, each in zip(NAMES, zip(*times)):
        print(f"{name:12} {statistics.median(each):6.2f} s  ({min(each):.2f} to {max(each):.2f})")


if __name__ == "__main__":
    script.run(main)
