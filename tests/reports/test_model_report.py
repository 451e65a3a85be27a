"""The report: one self-contained page, whole in a real browser on a phone and on a desk."""

import html.parser
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import pytest

from healthrisk.evidence.record import EvidenceRecord
from healthrisk.training.decision import Decision
from tests.support.patience import PROCESS

SECTIONS = (
    "verdict",
    "data",
    "study",
    "size",
    "predictors",
    "missing",
    "participants",
    "models",
    "holdout",
    "operating",
    "discrimination",
    "calibration",
    "subgroups",
    "sets",
    "outside",
    "explanation",
    "model",
    "robustness",
    "limits",
    "probast",
    "tripod",
    "provenance",
)
PHONE, DESK = 390, 1280


class Page(html.parser.HTMLParser):
    """The ids, links, pictures, words and rows of tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.words = ""
        self.rows: list[list[str]] = []
        self.headings: list[int] = []
        self.unnamed: list[str] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if attributes.get("id"):
            self.ids.append(str(attributes["id"]))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if (tag == "th" and not attributes.get("scope")) or (
            "tabindex" in attributes and not attributes.get("aria-label")
        ):
            self.unnamed.append(f"{tag} {attributes}")
        if tag == "a":
            self.links.append(str(attributes["href"]))
        if tag == "img":
            self.pictures.append(attributes)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.in_cell = True
            self.rows[-1].append("")
        assert tag not in {"script", "link", "iframe"}

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.in_cell:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {data.strip()}".strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self.in_cell = False


@pytest.fixture(scope="module")
def written(home: Path) -> Path:
    """The report of a finished run."""
    (path,) = (path for path in home.glob("reports/*.html") if not path.stem.endswith("-table"))
    return path


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text("utf-8"))


def artifact(home: Path, step: str, name: str) -> Path:
    (path,) = home.glob(f"runs/*/{step}/{name}")
    return path


def test_every_section_is_there_once_and_every_link_leads_to_one(page: Page) -> None:
    assert set(SECTIONS) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_the_page_carries_all_it_shows(page: Page, written: Path) -> None:
    assert len(page.pictures) >= 9
    for picture in page.pictures:
        assert str(picture["src"]).startswith("data:image/png;base64,")
        assert len(str(picture["alt"])) > 20
    assert not re.search(r"url\(|@import", written.read_text("utf-8"))
    assert written.stat().st_size < 1_500_000


def test_who_cannot_see_finds_their_way(page: Page) -> None:
    assert page.unnamed == []
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(page.headings))


def test_mlflow_and_the_pipeline_s_pages_hold_it_too(home: Path, written: Path, tmp_path: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("heart-disease").experiment_id])
    assert len(runs) == 3
    for run in runs:
        logged = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
        assert Path(logged).read_bytes() == written.read_bytes()
    (page,) = home.glob("runs/*/evidence/page")
    assert page.read_bytes() == written.read_bytes()


def test_figures_on_the_page_are_those_of_the_run(home: Path, page: Page) -> None:
    evidence = EvidenceRecord.read(artifact(home, "evidence", "document"))
    decision = Decision.read(artifact(home, "evidence", "judged"))
    for column in evidence.fairness:
        for row in column.groups:
            assert row.group in page.words
    for gate in decision.gates:
        said = f"{gate.verdict} {gate.reason}".strip()
        assert [gate.label, gate.gate.expected, gate.figure, said] in page.rows
    for site in evidence.sites:
        assert site.label in page.words
    assert page.words.count("is missing: not on this machine") == len(evidence.sites) == 3
    age = evidence.cohort.predictors[0].lines[0].sides[1]
    assert f"{age.median:.3g} ({age.low:.3g} to {age.high:.3g})" in page.words
    for point in evidence.operating:
        assert [point.level, point.event, f"{100 * point.threshold:.0f} %", str(point.acted)] in [
            row[:4] for row in page.rows
        ]
    for term in evidence.linear.terms if evidence.linear else ():
        assert [term.label, term.per, f"{term.coefficients[0]:.4g}"] in [row[:3] for row in page.rows]
    assert f"asks for {evidence.sample_size.fewest} to {evidence.sample_size.most} patients" in page.words
    assert evidence.level == "quick"
    assert "EVIDENCE=full" in page.words


def test_every_item_of_the_guideline_is_answered(page: Page) -> None:
    numbers: set[int] = set()
    for row in page.rows:
        # An item, or several: 17, 12a-c, 17-18, with the dash of a range.
        if len(row) == 3 and (item := re.fullmatch(r"(\d+)[a-g]?(?:\u2013(\d+|[a-g]))?", row[0])):
            low, high = item[1], item[2] or ""
            numbers |= set(range(int(low), int(high if high.isdigit() else low) + 1))
    assert numbers == set(range(1, 28))


@pytest.fixture(scope="module")
def measured(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    """Return what a real browser measures of the page within a frame of a width."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("there is no Chromium here: make test-tools")
    folder = tmp_path_factory.mktemp("browser")
    shutil.copyfile(written, folder / "report.html")
    script = """
    const frame = document.querySelector("iframe");
    frame.onload = () => {
      const page = frame.contentDocument, width = frame.clientWidth;
      const wide = [...page.querySelectorAll("main *")].filter((one) => !one.closest(".scroll")
        && one.getBoundingClientRect().right > width + 1).map((one) => one.tagName);
      const seen = (one) => one.getBoundingClientRect().right
        <= Math.min(width, one.closest("table").parentElement.getBoundingClientRect().right);
      const verdicts = [...page.querySelectorAll("#verdict tbody strong, #probast tbody strong")]
        .map((one) => [one.textContent, seen(one)]);
      const hints = [...page.querySelectorAll(".hint")].filter((one) => one.getBoundingClientRect().height > 0);
      const wider = [...page.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth);
      const sizes = [...page.querySelectorAll("p, td")]
        .map((one) => parseFloat(frame.contentWindow.getComputedStyle(one).fontSize));
      document.title = JSON.stringify({width: page.documentElement.scrollWidth, wide,
        verdicts, hints: hints.length, wider: wider.length,
        pictures: [...page.images].map((one) => one.naturalWidth), small: Math.min(...sizes)});
    };"""

    def measure(width: int) -> dict[str, Any]:
        frame = f'<iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>'
        outer = folder / f"{width}.html"
        outer.write_text(f"<!doctype html><title></title>{frame}<script>{script}</script>")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
        # A browser asks its maker for updates; this one finds nobody.
        options += [
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ]
        options += [f"--user-data-dir={folder}/profile", f"--window-size={width + 100},1000"]
        command = [browser, *options, "--virtual-time-budget=10000", "--dump-dom", outer.as_uri()]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PROCESS)
        if done.returncode == -signal.SIGSEGV:
            # It has happened on a busy machine, before any page was shown: what is tested is the page.
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PROCESS)
        done.check_returncode()
        title = re.search(r"<title>(\{.*?\})</title>", done.stdout)
        assert title, done.stdout[:500] + done.stderr[-500:]
        sizes: dict[str, Any] = json.loads(title[1])
        return sizes

    return measure


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_real_browser_shows_it_whole(measured: Callable[[int], dict[str, Any]], width: int) -> None:
    sizes = measured(width)
    assert sizes["width"] <= width
    assert sizes["wide"] == []
    assert min(sizes["pictures"]) > 100
    assert sizes["small"] >= 12
    # On a phone a table that scrolls says so.
    assert sizes["hints"] >= sizes["wider"] > 0 if width == PHONE else sizes["hints"] == 0


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_every_verdict_is_seen_without_scrolling_sideways(
    home: Path, measured: Callable[[int], dict[str, Any]], width: int
) -> None:
    gates = Decision.read(artifact(home, "evidence", "judged")).gates
    verdicts = measured(width)["verdicts"]
    assert [word for word, _ in verdicts[: len(gates)]] == [gate.verdict for gate in gates]
    assert {word for word, _ in verdicts[len(gates) :]} <= {"low", "unclear", "high"}
    assert len(verdicts) > len(gates)
    assert all(seen for _, seen in verdicts)
