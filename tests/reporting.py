"""What the tests of the report share: a run folder as the trainer leaves it, and a browser."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from steadygan.diagnostics.landscape import around, landscape
from steadygan.runs.sinks.landscapes import SavedLandscape, write_landscape

CONFIG = {
    "name": "ring8-0gp",
    "data": {"name": "ring8"},
    "networks": {"name": "mlp"},
    "game": {"name": "gan", "loss": "non_saturating"},
    "optimizer": {"name": "sgd", "lr": 0.003},
    "steps": 400,
}
EVIL = "<script>document.title='lost'</script>"


def write_events(folder: Path, lines: list[dict]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def made(folder: Path, members: int = 1, *, config: dict | None = None, pictures: bool = True) -> Path:
    """A run folder as the trainer leaves it, with every kind of line."""

    def each(value: float):
        return [value + 0.1 * m for m in range(members)] if members > 1 else value

    lines: list[dict] = []
    for step in range(10, 401, 10):
        t = step / 400
        lines.append(
            {"step": step, "images": step * 64, "wall_s": t}
            | {"loss/D": each(1.386 + t), "loss/G": each(0.7 - t), "gradient/D": each(1e-4 * 100**t)}
            | {"gradient/G": each(0.1), "logit/real": each(t), "logit/fake": each(-t), "penalty/r1": each(t)}
        )
        if step % 50 == 0:
            lines.append(
                {"step": step, "signal/mean": each(0.1), "fakes/coverage": each(0.5), "slope/max": each(1)}
            )
            lines.append({"step": step, "modes": each(4), "mode_kl": each(None if members == 1 else 0.2)})
    write_events(folder, lines)
    (folder / "config.yaml").write_text(yaml.safe_dump(config or CONFIG))
    (folder / "evaluation.json").write_text(json.dumps({"format": 1, "weights": "EMA", "shape": [2]}))
    if pictures:
        for step in (200, 400):
            (folder / "samples").mkdir(exist_ok=True)
            Image.new("RGB", (64, 64), (step % 256, 0, 0)).save(folder / "samples" / f"step-{step:08d}.png")
            write_landscape(folder / "landscapes", seen(step))
    return folder


def seen(step: int) -> SavedLandscape:
    points = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    found = landscape(lambda x: x[:, 0] * step, around(points), torch.empty(0), cells=8, arrows=4)
    return SavedLandscape(step, found, points / 2, points)


@pytest.fixture(scope="module")
def browser():
    """Debian's chromium without a window; its log holds what the console says, and each request."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    from selenium.webdriver.chrome.service import Service

    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("needs chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    yield found
    found.quit()


def opened(browser, address: str) -> None:
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # what earlier pages left
    browser.get(address)


def requests(browser) -> list[str]:
    """The addresses that the page has asked for, itself and what stands inside it left out."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith("data:") and url != browser.current_url]
