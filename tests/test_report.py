"""The report: what is drawn is what was written, nothing of a run is markup, and the page asks nobody for anything."""

import json
import math
import re
import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from steadygan.diagnostics.landscape import around, landscape
from steadygan.errors import UsageError
from steadygan.report.charts import BOTTOM, TOP, Curve, Rule, chart
from steadygan.report.page import differences, page
from steadygan.report.reels import landscapes, samples
from steadygan.report.runs import Reader, names
from steadygan.report.scales import Scale, fitting, short, ticks
from steadygan.report.thin import thinned
from steadygan.report.watch import Watch, server
from steadygan.sinks.landscapes import Seen, _write

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
    (folder / "looks.json").write_text(json.dumps({"format": 1, "weights": "EMA", "shape": [2]}))
    if pictures:
        for step in (200, 400):
            (folder / "samples").mkdir(exist_ok=True)
            Image.new("RGB", (64, 64), (step % 256, 0, 0)).save(folder / "samples" / f"step-{step:08d}.png")
            _write(folder / "landscapes", seen(step))
    return folder


def seen(step: int) -> Seen:
    points = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    found = landscape(lambda x: x[:, 0] * step, around(points), torch.empty(0), cells=8, arrows=4)
    return Seen(step, found, points / 2, points)


# Down-sampling


values = st.lists(
    st.one_of(st.floats(-1e6, 1e6, width=32), st.just(math.nan), st.just(math.inf)), min_size=1, max_size=300
)


@given(values, st.integers(1, 12), st.integers(0, 2**31))
def test_thinning_keeps_extremes_ends_and_gaps(found, buckets, seed):
    value = torch.tensor(found, dtype=torch.float64)
    jumps = torch.randint(1, 50, (len(value),), generator=torch.Generator().manual_seed(seed))
    steps = jumps.cumsum(0).double()
    kept = thinned(steps, value, buckets)
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert kept[0] == 0
    assert kept[-1] == len(value) - 1
    assert len(kept) <= max(3 * buckets + 2, 1)
    # An independent loop over the spans of steps.
    span = (steps[-1] - steps[0]).item() or 1.0
    for bucket in range(buckets):
        inside = [
            i
            for i in range(len(value))
            if min(int((steps[i] - steps[0]).item() / span * buckets), buckets - 1) == bucket
        ]
        finite = [found[i] for i in inside if math.isfinite(found[i])]
        left = [found[i] for i in inside if i in set(kept.tolist())]
        if finite:
            assert min(finite) in left
            assert max(finite) in left
        if len(finite) < len(inside):
            assert any(not math.isfinite(v) for v in left)


def test_a_short_series_stays_whole():
    assert thinned(torch.arange(5), torch.ones(5), 1).tolist() == [0, 1, 2, 3, 4]


# Axes and charts


def test_a_line_is_drawn_where_its_numbers_are():
    steps = torch.tensor([0.0, 50, 100])
    found = chart(
        "x", [Curve("a", 0, steps, torch.tensor([0.0, 5.0, 10.0]))], buckets=10, rules=[Rule(5.0, "half")]
    )
    (first, middle, last) = [
        tuple(map(float, pair)) for pair in re.findall(r"[ML](\S+) ([\d.]+)", found.lines[0].path)
    ]
    assert (first[0], middle[0], last[0]) == (50, 222, 394)
    assert middle[1] == pytest.approx((TOP + BOTTOM) / 2, abs=0.1)
    assert first[1] > middle[1] > last[1]  # upwards
    assert found.rules == [(middle[1], "half")]
    assert found.lines[0].numbers["highest"] == "10 at 100"
    for at, text in found.up:  # the ticks agree with the line
        assert at == pytest.approx(first[1] + (last[1] - first[1]) * float(text) / 10, abs=0.15)


def test_a_gap_interrupts_the_line_and_is_marked_and_a_lone_point_is_a_dot():
    steps = torch.arange(5.0)
    found = chart("x", [Curve("a", 0, steps, torch.tensor([1.0, 2.0, math.nan, 1.0, math.nan]))], buckets=9)
    assert found.lines[0].path.count("M") == 2
    assert found.lines[0].path.endswith("h0")
    assert [round(sum(span) / 2) for span in found.lines[0].lost] == [222, 394]
    assert found.lines[0].numbers["not finite"] == "2"


def test_bands_hold_every_member_and_end_at_gaps():
    steps, low = torch.arange(4.0), torch.tensor([0.0, 1.0, math.nan, 1.0])
    found = chart("x", [Curve("a", 0, steps, low + 1, low, low + 3)], buckets=9)
    assert [band.count("L") for band in found.lines[0].bands] == [3, 1]


def test_nothing_finite_is_still_a_chart():
    found = chart("x", [Curve("a", 0, torch.tensor([7.0]), torch.tensor([math.nan]))], buckets=9)
    assert (found.lines[0].path, len(found.lines[0].lost)) == ("", 1)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_few_and_inside(low, span):
    scale = fitting(low, low + span, 0, 100)
    found = ticks(scale)
    assert len(found) <= 6
    assert all(scale.low - 1e-6 * span <= t <= scale.high + 1e-6 * span for t in found)


def test_a_logarithmic_axis_is_for_positive_numbers_of_many_sizes():
    assert fitting(1e-4, 1.0, 0, 1, positive=1e-4).log
    assert not fitting(-1e-4, 1.0, 0, 1, positive=-1e-4).log
    scale = Scale(0.01, 100.0, 0.0, 4.0, log=True)
    assert scale(torch.tensor([0.1, 1.0, 10.0])).tolist() == pytest.approx([1, 2, 3])
    assert short(-1200000.0) == "-1.2M"


# Reading runs


def test_torn_and_foreign_lines_are_passed_over_and_growth_is_read_once(tmp_path):
    folder = made(tmp_path / "run")
    whole = len(Reader(folder).read().histories[0].series["loss/D"].steps)
    reader = Reader(folder)
    with (folder / "events.jsonl").open("a") as file:
        file.write('[1]\nnot json\n{"step": 410, "loss/D": 1.5}\n{"step": 420, "lo')
    assert len(reader.read().histories[0].series["loss/D"].steps) == whole + 1
    with (folder / "events.jsonl").open("a") as file:
        file.write('ss/D": 2.5}\n')
    assert reader.read().histories[0].series["loss/D"].values[-1] == 2.5
    write = folder / "other"
    write.write_text('{"step": 10, "loss/D": 9.0}\n')
    write.replace(folder / "events.jsonl")  # a resumed run rewinds its events
    assert reader.read().histories[0].series["loss/D"].values.tolist() == [9.0]


def test_runs_are_named_by_what_tells_them_apart(tmp_path):
    runs = [Reader(made(tmp_path / p / "run", pictures=False)).read() for p in ("a", "b")]
    assert names(runs) == ["a/run", "b/run"]
    assert names(runs[:1]) == ["run"]
    assert names([runs[0], runs[0]]) == ["run", "run"]


def test_differences_are_of_settings_by_their_dotted_names():
    one = {"name": "a", "critic": {"penalties": [{"name": "r1", "weight": 1}]}, "seed": 0}
    two = {"name": "b", "critic": {"penalties": []}, "seed": 0}
    assert differences({"a": one, "b": two}) == [
        ("critic.penalties", ["–", "[]"]),
        ("critic.penalties.0.name", ["r1", "–"]),
        ("critic.penalties.0.weight", ["1", "–"]),
    ]
    assert differences({"a": one}) == []


@pytest.mark.parametrize("kind", ["missing", "empty", "no events", "only torn events"])
def test_what_is_no_run_is_one_sentence(kind, tmp_path, command):
    folder = tmp_path / "run"
    if kind != "missing":
        folder.mkdir()
    if "events" in kind:
        (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    if kind == "only torn events":
        (folder / "events.jsonl").write_text('{"step": 10, "lo')
    done = command("report", folder, "--out", tmp_path / "report.html")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith("error: ")
    assert not (tmp_path / "report.html").exists()


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path, command):
    (tmp_path / "file").write_text("")
    done = command("report", made(tmp_path / "run"), "--out", tmp_path / "file" / "report.html")
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_damaged_pictures_and_landscapes_are_left_out(tmp_path):
    folder = made(tmp_path / "run")
    (folder / "samples" / "step-00000300.png").write_bytes(b"torn")
    (folder / "samples" / "step-x.png").write_bytes(b"")
    (folder / "landscapes" / "step-00000300.safetensors").write_bytes(b"torn")
    (folder / "spectrum.json").write_text("{")
    assert [frame.step for frame in samples(folder, 9, 10**6)] == [200, 400]
    assert [ground.step for ground in landscapes(folder, 9)] == [200, 400]
    assert "<h2" in page([Reader(folder).read()])


def test_large_pictures_are_shrunk_to_their_share(tmp_path):
    (tmp_path / "samples").mkdir()
    noise = torch.randint(0, 256, (500, 700, 3), generator=torch.Generator().manual_seed(0)).byte()
    Image.fromarray(noise.numpy()).save(tmp_path / "samples" / "step-00000001.png")
    (frame,) = samples(tmp_path, 4, 20_000)
    assert len(frame.source) < 20_000 * 4 / 3 + 40
    assert frame.ratio == pytest.approx(1.4)


# What the page says


def test_a_page_has_theory_s_lines_scores_and_their_protocol(tmp_path):
    text = page([Reader(made(tmp_path / "run")).read()])
    assert ">2 log 2<" in text
    assert ">log 2<" in text
    assert "weights EMA" in text
    wasserstein = {**CONFIG, "game": {"name": "gan", "loss": "wasserstein"}}
    assert "log 2<" not in page([Reader(made(tmp_path / "w", config=wasserstein)).read()])


def test_scores_of_unlike_protocols_stand_in_tables_of_their_own(tmp_path):
    runs = [made(tmp_path / name, pictures=False) for name in ("a", "b", "c")]
    assert "do not compare" not in page([Reader(run).read() for run in runs])
    (runs[1] / "looks.json").write_text(json.dumps({"format": 1, "weights": "raw", "shape": [2]}))
    text = page([Reader(run).read() for run in runs])
    assert "protocols differ" in text
    assert text.count("Scores of the last look, table") == 2


def test_an_ensemble_shows_its_median_and_range(tmp_path):
    text = page([Reader(made(tmp_path / "run", members=3)).read()])
    assert "4.1 (4 to 4.2)" in text
    assert 'class="band f0"' in text


def test_a_file_of_events_is_a_run_without_settings(tmp_path):
    file = made(tmp_path / "run", pictures=False) / "events.jsonl"
    assert "All settings" not in page([Reader(file).read()])


def test_half_a_million_steps_fit_into_five_megabytes(tmp_path):
    keys = ["loss/D", "loss/G", "gradient/D", "gradient/G", "logit/real", "logit/fake", "logit/spread"]
    folder = made(tmp_path / "run", pictures=False)
    reader = Reader(folder)
    reader.read()
    noise = torch.randn(500_000, len(keys), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise[123_456, 0] = 99.5
    for step, row in enumerate(noise.tolist()):  # as if read from lines, which takes longer
        reader.events.add({"step": 401 + step, **dict(zip(keys, row))})
    text = page([reader.read()])
    assert len(text.encode()) < 5_000_000
    assert "99.5 at 123,857" in text


# The page in a browser


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


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """One page on a run, one on three of which one has an evil name and evil settings."""
    folder = tmp_path_factory.mktemp("pages")
    config = {**CONFIG, "name": EVIL, "data": {"name": "ring8", EVIL: f"'\"&{EVIL}"}}
    evil = made(folder / EVIL.replace("/", "_"), config=config)
    (evil / "looks.json").write_text(json.dumps({"weights": EVIL}))
    with (evil / "events.jsonl").open("a") as file:
        file.write(json.dumps({"step": 400, f"{EVIL}": 1.0, f"odd/{EVIL}": 2.0}) + "\n")
    runs = [made(folder / "one"), made(folder / "several", members=4), evil]
    found = {"one": folder / "one.html", "three": folder / "three.html"}
    (runs[0] / "spectrum.json").write_text(
        json.dumps(
            {"step": 400, "P": 2, "method": "exact"}
            | {"simultaneous": {"eigenvalues": [[-1, 1], [-1, -1], [0.5, 0]], "signs": {"negative": 0.67}}}
        )
    )
    for name, each in (("one", runs[:1]), ("three", runs)):
        found[name].write_text(page([Reader(run).read() for run in each]))
    return found


@pytest.mark.parametrize("name", ["one", "three"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_draws_all_asks_for_nothing_and_fits(browser, pages, name, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    opened(browser, pages[name].as_uri())
    assert browser.get_log("browser") == []
    assert requests(browser) == []
    charts = browser.execute_script(
        "return [...document.querySelectorAll('figure.chart')].map(f => "
        "[f.querySelector('h3').textContent, [...f.querySelectorAll('svg [data-mark]')]"
        ".map(p => p.getTotalLength() + p.getAttribute('d').length), f.querySelector('svg').getBoundingClientRect().height])"
    )
    assert len(charts) >= 8
    for title, marks, height in charts:
        assert marks, title
        assert min(marks) > 0, title
        assert height > 100, title
    drawn = "return [...document.querySelectorAll('div:not([hidden]) > svg [data-mark]')].map(p => p.getAttribute('d').length)"
    assert min(browser.execute_script(drawn)) > 5
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_slider_moves_the_picture_by_keyboard(browser, pages):
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages["one"].as_uri())
    shown = "return [...document.querySelectorAll('[data-reel]')].map(r => [...r.querySelectorAll('[data-frame]:not([hidden])')].map(f => f.dataset.frame))"
    assert browser.execute_script(shown) == [["step 400"], ["step 400"]]
    visible = "const i = document.querySelector('[data-frame]:not([hidden]) img'); return [i.src.length > 50, i.naturalWidth, i.offsetWidth > 100]"
    assert browser.execute_script(visible) == [True, 64, True]
    for slider in browser.find_elements("css selector", "input[type=range]"):
        slider.send_keys(Keys.ARROW_LEFT)
    assert browser.execute_script(shown) == [["step 200"], ["step 200"]]
    said = "return [...document.querySelectorAll('[data-reel]')].map(r => [r.querySelector('output').textContent, r.querySelector('input').getAttribute('aria-valuetext')])"
    assert browser.execute_script(said) == [["step 200"] * 2] * 2


def test_names_and_settings_are_text(browser, pages):
    opened(browser, pages["three"].as_uri())
    assert browser.title.startswith("steadygan: ")
    assert "lost" not in browser.title.split("<script>")[0]
    text = browser.execute_script("return document.body.textContent")
    assert text.count(EVIL) >= 5
    assert browser.execute_script("return document.querySelectorAll('main script').length") == 0


def test_every_chart_has_a_name_and_a_table(browser, pages):
    opened(browser, pages["three"].as_uri())
    unnamed = (
        "return [...document.querySelectorAll('figure.chart')].filter(f => {const s = f.querySelector('svg');"
        "return s.getAttribute('role') !== 'img' || !document.getElementById(s.getAttribute('aria-labelledby')).textContent"
        " || !f.querySelectorAll('tbody tr').length}).length"
    )
    assert browser.execute_script(unnamed) == 0
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_dark_print_and_light_have_their_own_ground(browser, pages):
    opened(browser, pages["one"].as_uri())
    ground = "return getComputedStyle(document.body).backgroundColor"
    seen_ = {}
    for name, media in {
        "light": {"features": [{"name": "prefers-color-scheme", "value": "light"}]},
        "dark": {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
        "print": {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    }.items():
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        seen_[name] = browser.execute_script(ground)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert seen_["light"] == seen_["print"] == "rgb(255, 255, 255)"
    assert seen_["dark"] != seen_["light"]


# Watching


@pytest.fixture
def served(tmp_path):
    folder = made(tmp_path / "run")
    running = server(Watch([Reader(folder)], every=1), 0)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield folder, f"http://127.0.0.1:{running.server_address[1]}/"
    running.shutdown()
    running.server_close()
    thread.join()


def test_the_page_is_served_on_loopback_and_follows_the_run(served):
    folder, address = served
    first = urllib.request.urlopen(address).read().decode()
    assert "400 of 400" in first
    before = urllib.request.urlopen(address + "version").read()
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"step": 410, "loss/D": 1.5}\n')
    assert urllib.request.urlopen(address + "version").read() != before
    assert "410 of 400" in urllib.request.urlopen(address).read().decode()


def test_nothing_else_is_served_and_no_foreign_name(served):
    folder, address = served
    for path in ("config.yaml", "../config.yaml", "%2e%2e/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}))
    shutil.rmtree(folder)
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(address)


def test_a_watched_page_keeps_what_the_reader_has_moved(served, browser):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    folder, address = served
    opened(browser, address)
    ground, sample = browser.find_elements("css selector", "input[type=range]")
    ground.send_keys(Keys.ARROW_LEFT)
    browser.execute_script("document.querySelector('details').open = true")
    Image.new("RGB", (64, 64)).save(folder / "samples" / "step-00000410.png")
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"step": 410, "loss/D": 1.5}\n')
    WebDriverWait(browser, 20).until(
        lambda b: "410 of 400" in b.execute_script("return document.body.textContent")
    )
    shown = "return [...document.querySelectorAll('[data-frame]:not([hidden])')].map(f => f.dataset.frame)"
    assert browser.execute_script(shown) == [
        "step 200",
        "step 410",
    ]  # the other stood at its end, and stays there
    assert browser.execute_script("return document.querySelector('details').open")
    assert browser.execute_script("return document.activeElement.id") == "ground-1"
    assert browser.get_log("browser") == []
    assert set(requests(browser)) <= {address, address + "version"}


def test_a_taken_port_is_one_sentence(served, command):
    folder, address = served
    done = command("watch", folder, "--port", address.rstrip("/").rpartition(":")[2])
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert command("watch", folder / "none").code == 2
    assert command("watch", folder, "--port", "70000").code == 2


def test_ctrl_c_ends_watching_without_a_word_of_python(tmp_path, command, monkeypatch):
    from http.server import ThreadingHTTPServer

    def interrupted(self, poll_interval):
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", interrupted)
    done = command("watch", made(tmp_path / "run"))
    assert (done.code, done.err) == (0, "")
    assert re.search(r"watching: http://127\.0\.0\.1:\d+/", done.out)


def test_a_run_that_has_just_begun_can_be_watched(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    watch = Watch([Reader(folder)], every=1)
    assert "undecided" in watch.page()
    write_events(folder, [{"step": 5, "loss/D": 1.0}])
    assert "5 of 400" in watch.page()
    (folder / "config.yaml").unlink()
    with pytest.raises(UsageError):
        Reader(folder)
