"""Take the README's pictures of the newest report with headless Chromium: `python tests/take_pictures.py FOLDER`."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from healthrisk.config import settings

WIDTH = 1000
# What each picture shows: from the top of one section to the top of another; no first one means the top of the page.
PICTURES = {"report-verdict.png": ("", "data"), "report-calibration.png": ("calibration", "subgroups")}
MOST_BYTES = 150_000
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"),
]
# The page's title says where its sections begin, and how tall the page is.
MEASURE = """<script>addEventListener("load", () => {
  const tops = [...document.querySelectorAll("[id]")].map((one) => [one.id, one.getBoundingClientRect().top + scrollY]);
  document.title = JSON.stringify({tops: Object.fromEntries(tops), height: document.documentElement.scrollHeight});
});</script>"""


def main(folder: Path) -> int:
    """Take every picture; return the exit code."""
    browser = shutil.which("chromium")
    if browser is None:
        print("there is no Chromium here: make test-tools", file=sys.stderr)
        return 1
    reports = [page for page in (settings().home / "reports").glob("*.html") if not page.stem.endswith("-table")]
    if not reports:
        print(f"there is no report in {settings().home / 'reports'}: make train", file=sys.stderr)
        return 1
    report = max(reports, key=lambda page: page.stat().st_mtime)
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "report.html"
        page.write_text(report.read_text("utf-8") + MEASURE, "utf-8")
        command = [browser, *OPTIONS, f"--user-data-dir={scratch}/profile", "--virtual-time-budget=10000"]
        dom = _run([*command, f"--window-size={WIDTH},1000", "--dump-dom", page.as_uri()])
        title = re.search(r"<title>(\{.*?\})</title>", dom)
        if title is None:
            print(f"{report} did not load: {dom[:200]}", file=sys.stderr)
            return 1
        measured = json.loads(title[1])
        whole = Path(scratch) / "whole.png"
        _run([*command, f"--window-size={WIDTH},{measured['height']}", f"--screenshot={whole}", page.as_uri()])
        folder.mkdir(parents=True, exist_ok=True)
        with Image.open(whole) as picture:
            for name, (first, last) in PICTURES.items():
                top = measured["tops"][first] - 20 if first else 0
                part = picture.convert("RGB").crop((0, int(top), WIDTH, int(measured["tops"][last]) - 20))
                # The pages have few colours: a palette is as sharp, and a third of the size.
                part.quantize(256, dither=Image.Dither.NONE).save(folder / name, optimize=True)
                print(f"{folder / name}: {(folder / name).stat().st_size} bytes")
    large = [name for name in PICTURES if (folder / name).stat().st_size > MOST_BYTES]
    if large:
        print(f"larger than {MOST_BYTES} bytes: {', '.join(large)}", file=sys.stderr)
    return int(bool(large))


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
