"""Who is told: a folder with a file for each value, as a secret's volume is, read into receivers.

Keys are `mail-to`, `chat-url` and `pager-key`, of everybody or of one model's people (`heart-disease.chat-url`), and of
everybody alone `mail-from`, `mail-server`, `mail-user`, `mail-password`, `mail-tls`, `pager-url` and `watchdog-url`.
"""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from healthrisk.documents import Document
from healthrisk.errors import ConfigError

_KEY = re.compile(r"(?:(?P<model>[a-z0-9][a-z0-9-]*)\.)?(?P<name>[a-z]+-[a-z]+)")
_FILES = {"chat-url", "pager-key", "mail-password", "watchdog-url"}
_URL = re.compile(r"https?://\S+")
_ADDRESS = r"[^\s,@]+@[^\s,@]+"
# What a value that is refused should have been: it is not quoted, as it may be a secret.
_EXPECTED = {
    "mail-to": "expected team@hospital.example, or several with a comma between",
    "mail-from": "expected an address such as healthrisk@hospital.example",
    "mail-server": "expected HOST:PORT",
    "mail-tls": "expected yes or no",
    "pager-url": "expected http:// or https:// and what follows",
}


class Team(Document):
    """Where messages go: `mail_to` are addresses, the others the files that hold an address or a key."""

    mail_to: str | None = Field(default=None, alias="mail-to", pattern=rf"^{_ADDRESS}(, ?{_ADDRESS})*$")
    chat_url: str | None = Field(default=None, alias="chat-url")
    pager_key: str | None = Field(default=None, alias="pager-key")


class Receivers(Team):
    """Everybody's team, how mail and pages are sent, and the teams of models that have their own."""

    mail_from: str | None = Field(default=None, alias="mail-from", pattern=rf"^{_ADDRESS}$")
    mail_server: str | None = Field(default=None, alias="mail-server", pattern=r"^\S+:\d+$")
    mail_user: str | None = Field(default=None, alias="mail-user")
    mail_password: str | None = Field(default=None, alias="mail-password")
    mail_tls: Literal["yes", "no"] = Field(default="yes", alias="mail-tls")
    pager_url: str | None = Field(default=None, alias="pager-url", pattern=r"^https?://\S+$")
    watchdog_url: str | None = Field(default=None, alias="watchdog-url")
    models: dict[str, Team] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _mail_can_be_sent(self) -> Self:
        teams: tuple[Team, ...] = (self, *self.models.values())
        if any(team.mail_to for team in teams) and not (self.mail_from and self.mail_server):
            raise ValueError("mail-to needs mail-from and mail-server beside it")
        if bool(self.mail_user) != bool(self.mail_password):
            raise ValueError("mail-user and mail-password need each other")
        return self


def read(folder: Path) -> Receivers:
    """Read a folder's receivers; one that is not there has none.

    Raises:
        ConfigError: a key is unknown, its value cannot be used, or another is missing beside it.
    """
    values: dict[str, str] = {}
    models: dict[str, dict[str, str]] = {}
    # A secret's volume holds folders of its own, whose names begin with two dots.
    for path in sorted(folder.glob("[!.]*")):
        key = _KEY.fullmatch(path.name)
        if key is None:
            raise ConfigError(f"{path}: expected a key such as chat-url or heart-disease.chat-url")
        text = path.read_text().strip()
        if not text:
            raise ConfigError(f"{path}: it is empty")
        # Alertmanager reads these itself, and would find out when there is something to tell.
        if key["name"] in {"chat-url", "watchdog-url"} and not _URL.fullmatch(text):
            raise ConfigError(f"{path}: {_EXPECTED['pager-url']}")
        held = models.setdefault(key["model"], {}) if key["model"] else values
        held[key["name"]] = str(path) if key["name"] in _FILES else text
    try:
        return Receivers.model_validate({**values, "models": models})
    except ValidationError as error:
        raise ConfigError(f"{folder}{_said(error)}") from None


def _said(error: ValidationError) -> str:
    """Return the first key at fault and what was expected; never its value, which may be a password."""
    first = error.errors(include_input=False, include_url=False)[0]
    if not first["loc"]:
        return f": {first['ctx']['error']}"
    key = ".".join(map(str, first["loc"])).removeprefix("models.")
    expected = "there is no such key" if first["type"] == "extra_forbidden" else _EXPECTED[str(first["loc"][-1])]
    return f"/{key}: {expected}"
