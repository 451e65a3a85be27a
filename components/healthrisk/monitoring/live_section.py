"""Live performance as a section of a version's report, beside its validation."""

import re
import time
from pathlib import Path

from healthrisk import atomic
from healthrisk.errors import SourceError
from healthrisk.monitoring.estimate import BLIND
from healthrisk.monitoring.performance import LivePerformance, VersionPerformance
from healthrisk.receipts.probability_bins import EVENT
from healthrisk.reports import pages

_OLD = re.compile(r'<section id="live">.*?</section>\n', re.DOTALL)
_LINK = '<a href="#live">Live</a>\n'
# The section and its link stand before those of what the report was made from.
_SECTION_AFTER, _LINK_AFTER = '<section id="provenance">', '<a href="#provenance">'


def write(path: Path, performance: LivePerformance) -> None:
    """Put live performance into a report, in place of what stands there already.

    Raises:
        SourceError: the file is no report, or its name holds no version of which anything is known.
    """
    known = {version.version: version for version in performance.versions}
    version = next((version for name, version in known.items() if name in path.name), None)
    if version is None:
        raise SourceError(f"{path} has no version in its name of which outcomes are known: {', '.join(known)}")
    try:
        page = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from None
    if _SECTION_AFTER not in page or _LINK_AFTER not in page:
        raise SourceError(f"{path} is no report of a version")
    page = _OLD.sub("", page).replace(_LINK, "").replace(_LINK_AFTER, _LINK + _LINK_AFTER)
    page = page.replace(_SECTION_AFTER, f"{_section(version)}\n{_SECTION_AFTER}")
    atomic.write_text(path, page)


def _section(version: VersionPerformance) -> str:
    everybody = next(one for one in version.slices if (one.label, one.month, one.grouping) == (EVENT, "", ""))
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return pages.render("live.html", version=version, everybody=everybody, blind=BLIND, at=at)
