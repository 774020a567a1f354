"""The report in Debian's chromium: all is drawn, sliders move, no run is markup, nobody is asked for anything."""

import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image

from reporting import CONFIG, EVIL, browser, made, opened, requests, write_events
from steadygan.errors import UsageError
from steadygan.report.page import Page, page
from steadygan.report.run_summary import Reader
from steadygan.report.watch import Watch, server

__all__ = ["browser"]

pytestmark = pytest.mark.slow

DRAWN = (
    "return [...document.querySelectorAll('figure.chart')].map(f => [f.querySelector('h3').textContent,"
    " [...f.querySelectorAll('svg [data-mark]')].map(p => p.getAttribute('d').length),"
    " f.querySelector('svg').getBoundingClientRect().height])"
)
PATHS = (
    "return [...document.querySelectorAll('div:not([hidden]) > svg [data-mark]')]"
    ".map(p => p.getAttribute('d').length)"
)
SHOWN = (
    "return [...document.querySelectorAll('[data-reel]')].map(r => "
    "[...r.querySelectorAll('[data-frame]:not([hidden])')].map(f => f.dataset.frame))"
)
SAID = (
    "return [...document.querySelectorAll('[data-reel]')].map(r => [r.querySelector('output').textContent,"
    " r.querySelector('input').getAttribute('aria-valuetext')])"
)
VISIBLE = (
    "const i = document.querySelector('[data-frame]:not([hidden]) img');"
    "return [i.src.length > 50, i.naturalWidth, i.offsetWidth > 100]"
)
UNNAMED = (
    "return [...document.querySelectorAll('figure.chart')].filter(f => {const s = f.querySelector('svg');"
    "return s.getAttribute('role') !== 'img' || !f.querySelectorAll('tbody tr').length ||"
    " !document.getElementById(s.getAttribute('aria-labelledby')).textContent}).length"
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """One page on a run, one on three of which one has an evil name and evil settings."""
    folder = tmp_path_factory.mktemp("pages")
    config = {**CONFIG, "name": EVIL, "data": {"name": "ring8", EVIL: f"'\"&{EVIL}"}}
    evil = made(folder / EVIL.replace("/", "_"), config=config)
    (evil / "evaluation.json").write_text(json.dumps({"weights": EVIL}))
    with (evil / "events.jsonl").open("a") as file:
        file.write(json.dumps({"step": 400, f"{EVIL}": 1.0, f"odd/{EVIL}": 2.0}) + "\n")
    runs = [made(folder / "one"), made(folder / "several", members=4), evil]
    Image.new("RGB", (64, 64), "white").save(runs[1] / "samples" / "step-00000280.png")  # as plots are
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
    charts = browser.execute_script(DRAWN)
    assert len(charts) >= 8
    for title, marks, height in charts:
        assert marks, title
        assert min(marks) > 5, title
        assert height > 100, title
    assert min(browser.execute_script(PATHS)) > 5
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")


def test_the_slider_moves_the_picture_by_keyboard(browser, pages):
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages["one"].as_uri())
    assert browser.execute_script(SHOWN) == [["step 400"], ["step 400"]]
    assert browser.execute_script(VISIBLE) == [True, 64, True]
    for slider in browser.find_elements("css selector", "input[type=range]"):
        slider.send_keys(Keys.ARROW_LEFT)
    assert browser.execute_script(SHOWN) == [["step 200"], ["step 200"]]
    assert browser.execute_script(SAID) == [["step 200"] * 2] * 2


def test_linked_sliders_go_to_the_nearest_step_until_they_are_unlinked(browser, pages):
    """One of three runs has a picture of step 280 too: its second frame, as step 400 is elsewhere."""
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages["three"].as_uri())
    sliders = browser.find_elements("css selector", "input[type=range]")
    assert browser.execute_script(SHOWN) == [["step 400"]] * 6
    sliders[3].send_keys(Keys.ARROW_LEFT)
    assert browser.execute_script(SHOWN) == [["step 200"]] * 3 + [["step 280"]] + [["step 200"]] * 2
    browser.find_element("css selector", "#linked").click()
    sliders[0].send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script(SHOWN)[:2] == [["step 400"], ["step 200"]]


def test_figures_are_downloaded_from_a_file_as_csv_and_svg(browser, pages, tmp_path):
    """The numbers are those of the run, and the drawing needs no style sheet."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    opened(browser, pages["one"].as_uri())
    figures = browser.find_elements("css selector", "figure.chart")
    (losses,) = [each for each in figures if each.find_element("css selector", "h3").text == "losses"]
    for button in losses.find_elements("css selector", "button"):
        browser.execute_script("arguments[0].click()", button)
    files = tmp_path / "losses.csv", tmp_path / "losses.svg"
    WebDriverWait(browser, 20).until(lambda _: all(file.exists() for file in files))
    rows = [line.split(",") for line in files[0].read_text().splitlines()]
    assert rows[0] == ["step", "loss/D", "loss/G"]
    assert [[float(part) for part in row] for row in rows[1:]] == [
        pytest.approx([step, 1.386 + step / 400, 0.7 - step / 400], abs=1e-5) for step in range(10, 401, 10)
    ]
    drawn = ElementTree.parse(files[1])
    assert not [each for each in drawn.iter() if each.get("class") or "var(" in str(each.attrib)]
    strokes = [each.get("stroke") for each in drawn.iter() if each.get("data-mark") == "loss/D"]
    assert strokes == ["rgb(0, 114, 178)"]
    assert {"losses", "loss/D", "loss/G"} <= {each.text for each in drawn.iter()}
    assert browser.get_log("browser") == []
    assert requests(browser) == []


def test_a_link_in_a_notebook_s_frame_moves_the_frame(browser, pages, tmp_path):
    """Without care a link to a part of the page would load the notebook into the frame."""
    notebook = tmp_path / "notebook.html"
    notebook.write_text(Page(pages["one"].read_text())._repr_html_())
    opened(browser, notebook.as_uri())
    browser.switch_to.frame(0)
    browser.execute_script("document.querySelector('nav a[href=\"#settings\"]').click()")
    assert browser.execute_script("return [location.href, scrollY > 500]") == ["about:srcdoc", True]
    look = "try { return parent.document.title } catch (error) { return error.name }"
    assert browser.execute_script(look) == "SecurityError", (
        "the page of another's run may not act for the user"
    )
    browser.switch_to.default_content()


def test_names_and_settings_are_text(browser, pages):
    opened(browser, pages["three"].as_uri())
    assert browser.title.startswith("steadygan: ")
    assert "lost" not in browser.title.split("<script>")[0]
    text = browser.execute_script("return document.body.textContent")
    assert text.count(EVIL) >= 5
    assert browser.execute_script("return document.querySelectorAll('main script').length") == 0


def test_every_chart_has_a_name_and_a_table(browser, pages):
    opened(browser, pages["three"].as_uri())
    assert browser.execute_script(UNNAMED) == 0
    ids = browser.execute_script("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_dark_print_and_light_have_their_own_ground(browser, pages):
    opened(browser, pages["three"].as_uri())
    ground = "return getComputedStyle(document.body).backgroundColor"
    plot = "return getComputedStyle(document.querySelector('img.plot')).filter"
    seen_, plots = {}, {}
    for name, media in {
        "light": {"features": [{"name": "prefers-color-scheme", "value": "light"}]},
        "dark": {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
        "print": {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    }.items():
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        seen_[name], plots[name] = browser.execute_script(ground), browser.execute_script(plot)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert seen_["light"] == seen_["print"] == "rgb(255, 255, 255)"
    assert seen_["dark"] != seen_["light"]
    assert plots["light"] == plots["print"] == "none"
    assert "invert" in plots["dark"]  # white paper would glare


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
    browser.find_element("css selector", "#linked").click()
    browser.find_element("css selector", "input[type=range]").send_keys(Keys.ARROW_LEFT)
    browser.execute_script("document.querySelector('details').open = true")
    Image.new("RGB", (64, 64)).save(folder / "samples" / "step-00000410.png")
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"step": 410, "loss/D": 1.5}\n')
    WebDriverWait(browser, 20).until(
        lambda b: "410 of 400" in b.execute_script("return document.body.textContent")
    )
    assert browser.execute_script(SHOWN) == [
        ["step 200"],
        ["step 410"],
    ]  # the other stood at its end, and stays there
    assert browser.execute_script("return document.querySelector('details').open")
    assert not browser.execute_script("return document.getElementById('linked').checked")
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
