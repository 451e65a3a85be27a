"""A context: a site or an environment by name, with its registry, its store, and whom it believes to have signed.

Contexts stand in a YAML file, HEALTHRISK_CONTEXTS or `contexts.yaml` below HEALTHRISK_HOME, by name; on one machine the
folder of another HEALTHRISK_HOME is a context by itself.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from healthrisk.config import settings
from healthrisk.documents import Document
from healthrisk.errors import ConfigError

# Taken from nowhere else in a context that does not name them: another site's would be wrong.
_PLACES = (
    *("MLFLOW_TRACKING_URI", "HEALTHRISK_BUNDLES", "AWS_ENDPOINT_URL", "AWS_REGION"),
    *("HEALTHRISK_ACTIONS", "HEALTHRISK_RECORDS"),
)
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class Context(Document):
    """One entry of the file; paths are relative to the file's folder.

    It has a `home`, or both a `registry` and a place for `bundles`: those below another's home would be that one's.
    `credentials` is a file with the object store's AWS_ACCESS_KEY_ID=... and AWS_SECRET_ACCESS_KEY=..., `public_key`
    one with the keys that are believed there, in PEM. Without them the environment's are taken. `actions` is where what
    is done there is put on record; else a folder of the home. `images` is the file of the images that the site runs,
    and `image_registry` the HOST/PATH from which it does.
    """

    home: Path | None = None
    registry: str = ""
    bundles: str = ""
    endpoint: str = ""
    region: str = ""
    actions: str = ""
    credentials: Path | None = None
    public_key: Path | None = None
    images: Path | None = None
    image_registry: str = ""

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables that this context sets.

        Raises:
            ConfigError: its file of credentials cannot be read.
        """
        places = (self.registry, self.bundles, self.endpoint, self.region, self.actions, "")
        named = dict(zip(_PLACES, places, strict=True))
        if self.home:
            named["HEALTHRISK_HOME"] = str(folder / self.home)
        if self.public_key:
            named["HEALTHRISK_BUNDLE_PUBLIC_KEY"] = str(folder / self.public_key)
        if self.credentials:
            named |= _read_credentials(folder / self.credentials)
        return named


@contextmanager
def entered(name: str) -> Iterator[Context]:
    """Let every setting of this process be that of a context, by its name or its folder, and restore them afterwards.

    Yields the context; the path of its images is whole.

    Raises:
        ConfigError: there is no such context, it does not say where it is, or the file of contexts is none.
    """
    before = dict(os.environ)
    context, folder = _find(name)
    named = context.environment(folder)
    try:
        os.environ.update(named)
        yield context.model_copy(update={"images": folder / context.images}) if context.images else context
    finally:
        os.environ.clear()
        os.environ.update(before)


def _find(name: str) -> tuple[Context, Path]:
    """Return a context, and the folder that its paths are relative to."""
    file = Path(os.environ.get("HEALTHRISK_CONTEXTS") or settings().home / "contexts.yaml").absolute()
    contexts = _read(file)
    if context := contexts.get(name):
        if not (context.home or (context.registry and context.bundles)):
            raise ConfigError(f"context {name!r} of {file}: expected a home, or both a registry and bundles")
        return context, file.parent
    if Path(name).is_dir():
        return Context(home=Path(name).absolute()), file.parent
    known = f"it knows {', '.join(contexts)}" if contexts else "which knows none"
    raise ConfigError(f"context {name!r}: expected one of {file} ({known}), or the folder of a HEALTHRISK_HOME")


def _read(file: Path) -> dict[str, Context]:
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        if "HEALTHRISK_CONTEXTS" in os.environ:
            raise ConfigError(f"HEALTHRISK_CONTEXTS {str(file)!r}: there is no such file") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"contexts {file}: cannot be read: {error}") from None
    try:
        return TypeAdapter(dict[str, Context]).validate_python(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise ConfigError(f"contexts {file}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"contexts {file}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _read_credentials(file: Path) -> dict[str, str]:
    try:
        lines = [line.strip().partition("=") for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        raise ConfigError(f"credentials {file}: cannot be read") from None
    found = {name: value for name, _, value in lines if name in _CREDENTIALS}
    if len(found) < len(_CREDENTIALS):
        raise ConfigError(f"credentials {file}: expected lines {' and '.join(f'{name}=...' for name in _CREDENTIALS)}")
    return found
