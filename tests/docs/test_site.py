"""The documentation site: built without a warning, every link leads somewhere, nothing is asked of another host."""

import doctest
import html
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import steadygan
from paths import ROOT
from reporting import browser, opened, requests
from steadygan.recipes.catalogue import recipe_names

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")

from docs import griffe_reading, site_pages

__all__ = ["browser"]

OUTER = re.compile(
    r"https://arxiv\.org/abs/\d{4}\.\d{4,5}|https://doi\.org/10\.\d{4,}/\S+"
    r"|https://(?!arxiv|doi)[\w-]+(\.[\w-]+)+(/[\w.~%/-]*)?"
)
"""An address of another host: a paper's by arXiv or DOI, or a page without a query."""

LOADED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed|object)\b[^>]*?\b(?:src|data|srcset)=\"([^\"]+)\""
    r"|<link\b[^>]*?\bhref=\"([^\"]+)\"|@import\s+[\"']([^\"']+)|url\([\"']?([^)\"']+)"
)
"""What a browser asks for by itself."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, with each warning as an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def texts(site: Path) -> dict[Path, str]:
    """The pages of the site, without the one of a server for an address that it does not know."""
    return {file: file.read_text() for file in site.rglob("*.html") if file.name != "404.html"}


@pytest.fixture(scope="module")
def ids(texts: dict[Path, str]) -> dict[Path, set[str]]:
    """The anchors of each page."""
    found = {file: re.findall(r"<[a-z0-9]+\b[^>]*?\bid=\"([^\"]+)\"", text) for file, text in texts.items()}
    return {file: set(map(html.unescape, names)) for file, names in found.items()}


@pytest.mark.slow
def test_every_link_leads_to_a_page_and_a_place_on_it(site, texts, ids):
    wrong, count = [], 0
    for page, text in texts.items():
        for link in set(map(html.unescape, re.findall(r"<a\b[^>]*?\bhref=\"([^\"]+)\"", text))):
            count += 1
            if not (OUTER.fullmatch(link) if "://" in link else leads(page, link, ids)):
                wrong.append(f"{page.relative_to(site)}: {link}")
    assert wrong == []
    assert count > 3000


def leads(page: Path, link: str, ids: dict[Path, set[str]]) -> bool:
    """Whether a link of a page leads to a page of the site, and to an anchor that it has."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.is_file() and (not anchor or anchor in ids[target])


@pytest.mark.slow
def test_no_page_loads_anything_of_another_host(site, texts):
    styles = {file: file.read_text() for file in site.rglob("*.css")}
    found = [
        f"{file.relative_to(site)}: {address}"
        for file, text in (texts | styles).items()
        for address in map("".join, LOADED.findall(text))
        if re.match(r"(https?:)?//", address)
    ]
    assert found == []
    assert len(styles) >= 3


def exported() -> Iterator[str]:
    """Every name in the `__all__` of the modules at the package's root and of the packages' faces, with its module."""
    for found in pkgutil.walk_packages(steadygan.__path__, "steadygan."):
        inner = found.name.split(".")[1:]
        if not any(part.startswith("_") for part in inner) and (found.ispkg or len(inner) == 1):
            module = importlib.import_module(found.name)
            for name in getattr(module, "__all__", []) if found.name != "steadygan.cli" else []:
                yield f"{found.name}.{name}"
    yield from (f"steadygan.{name}" for name in steadygan.__all__)


def missing(names: Collection[str], anchors: dict[Path, set[str]]) -> list[str]:
    """The names that have no entry in the API reference."""
    entries = {anchor for file, found in anchors.items() if file.parent.name == "api" for anchor in found}
    return sorted(name for name in names if name not in entries)


@pytest.mark.slow
def test_every_public_name_has_its_entry_and_one_that_is_missing_is_found(site, ids):
    names = set(exported())
    assert {"steadygan.fit", "steadygan.losses", "steadygan.penalties.r1", "steadygan.metrics.Card"} <= names
    assert missing(names, ids) == []
    page = site / "api" / "steadygan.penalties.html"
    without = {**ids, page: ids[page] - {"steadygan.penalties.r1"}}
    assert missing(names, without) == ["steadygan.penalties.r1"]


@pytest.mark.slow
def test_the_gallery_has_every_recipe(texts, site):
    shown = re.findall(r"<td><code>([\w-]+)</code>", texts[site / "gallery.html"])
    assert sorted(name for name in shown if "-" in name) == recipe_names()


@pytest.mark.slow
def test_the_page_of_the_command_line_has_the_readmes_commands_and_their_options(texts, site):
    text = re.sub(r"<[^>]+>", "", texts[site / "cli.html"])
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    commands = set(re.findall(r"^steadygan (\w+(?: gamma)?)", "".join(blocks), re.M))
    assert {"train", "resume", "evaluate", "probe gamma"} <= commands
    assert [name for name in commands if not re.search(rf"steadygan {name}\b", text)] == []
    assert {"--dry-run", "--against", "--samples"} <= set(re.findall(r"--[\w-]+", text))
    assert "Checkpoint to score: newest, best, all or a step number. Default: newest." in text


@pytest.mark.slow
def test_pages_from_the_disk_ask_nobody_fit_a_phone_and_can_be_searched(browser, site):
    for width, page in ((390, "gallery"), (390, "configuration"), (390, "constraints"), (1280, "index")):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        opened(browser, (site / f"{page}.html").as_uri())
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), page
        assert not [url for url in requests(browser) if not url.startswith(("file:", "blob:"))]
    browser.find_element("css selector", "[data-md-component=search-query]").send_keys("fake_as_real")
    end = time.monotonic() + 30
    while "fake_as_real" not in found(browser) and time.monotonic() < end:
        time.sleep(0.1)
    assert "fake_as_real" in found(browser)
    assert not [entry["message"] for entry in browser.get_log("browser")]


def found(browser) -> str:
    """What the search shows."""
    return browser.find_element("css selector", ".md-search-result__list").get_property("textContent")


@pytest.mark.parametrize("module", [site_pages, griffe_reading], ids=["pages", "reading"])
def test_the_examples_of_the_sites_modules_hold(module: ModuleType):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_every_paper_that_the_reference_of_keys_cites_has_an_address():
    text = (ROOT / "docs" / "configuration.md").read_text()
    cited = {site_pages._key(*found.groups()) for found in site_pages.CITATION.finditer(text)}
    assert len(cited) > 30
    assert cited - {"Lin 2025"} <= set(
        site_pages.addresses()
    )  # two papers, which the page of papers tells apart


def test_a_page_without_links_of_its_own_gets_those_of_its_citations():
    known = {"Wu 2021": "https://a.org", "Miyato and Koyama 2018": "https://b.org"}
    made = site_pages.cited(
        "<h2>Wu 2021</h2><p>Wu et al. 2021; Miyato and Koyama 2018; Miyato 2018</p>", known
    )
    assert made == (
        '<h2>Wu 2021</h2><p><a href="https://a.org">Wu et al. 2021</a>; '
        '<a href="https://b.org">Miyato and Koyama 2018</a>; Miyato 2018</p>'
    )
