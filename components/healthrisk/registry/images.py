"""The images that a site runs, by digest: carried to another site's container registry by crane, where both name them.

A site's file of them is what `make images PUSH=` writes, and what `make platform IMAGES=` installs by.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from healthrisk.atomic import write_text
from healthrisk.errors import ConfigError, StoreError

_LINE = re.compile(
    r"(?P<variable>(?:PIPELINE|SERVING)_IMAGE)=(?P<registry>[\w.:/-]+)"
    r"/(?P<name>healthrisk/(?:pipeline|serving):[\w.-]+)@(?P<digest>sha256:[0-9a-f]{64})"
)
# Over a slow line a gigabyte takes long.
_SECONDS = 3600.0


@dataclass(frozen=True)
class Image:
    """One of our images: the variable that names it, its registry (HOST/PATH), its name with a tag, and its digest."""

    variable: str
    registry: str
    name: str
    digest: str

    @property
    def address(self) -> str:
        """Where it is, as a cluster asks for it."""
        return f"{self.registry}/{self.name}@{self.digest}"


def read(file: Path) -> tuple[Image, ...]:
    """Read a site's file of images.

    Raises:
        ConfigError: it cannot be read, names none, or something else.
    """
    try:
        lines = file.read_text("utf-8").split()
    except (OSError, ValueError):
        raise ConfigError(f"images {file}: cannot be read: `make images PUSH=REGISTRY` writes such a file") from None
    matches = [(line, _LINE.fullmatch(line)) for line in lines]
    for line, match in matches:
        if match is None:
            raise ConfigError(
                f"images {file}: {line!r}: expected SERVING_IMAGE=HOST/PATH/healthrisk/serving:TAG@DIGEST"
            )
    if not matches:
        raise ConfigError(f"images {file}: it names none")
    return tuple(Image(**match.groupdict()) for _, match in matches if match)


def carry(images: Sequence[Image], registry: str, file: Path) -> tuple[str, ...]:
    """Copy images to a registry unless they are in it, make sure that each is there as it was, and name them in a file.

    Without a registry they stay where they are, for both sites. Returns their addresses.

    Raises:
        ConfigError: there is no crane here.
        StoreError: a registry does not answer, or lacks one.
    """
    carried = [replace(image, registry=registry.rstrip("/") or image.registry) for image in images]
    for image, there in zip(images, carried, strict=True):
        if image != there:
            # As a whole, of every platform: the same bytes have the same digest.
            _crane("copy", image.address, f"{there.registry}/{there.name}")
        if (digest := _crane("digest", there.address)) != there.digest:
            raise StoreError(f"image {there.address}: the registry has {digest!r}")
    write_text(file, "".join(f"{there.variable}={there.address}\n" for there in carried))
    return tuple(there.address for there in carried)


def _crane(*words: str) -> str:
    if (crane := shutil.which("crane")) is None:
        raise ConfigError("both contexts name images, and crane, which copies them, is not on the PATH")
    try:
        done = subprocess.run([crane, *words], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise StoreError(f"crane {' '.join(words)}: not within {_SECONDS:.0f} s") from None
    if done.returncode:
        raise StoreError(f"crane {' '.join(words)}: {(done.stderr.strip() or 'it failed').splitlines()[-1]}")
    return done.stdout.strip()
