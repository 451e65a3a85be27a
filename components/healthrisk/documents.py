"""The base of every document that one room writes and another reads: frozen, strict, written the same every time."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from healthrisk import atomic


class Document(BaseModel):
    """A document that cannot be changed, allows no unknown field, and holds finite numbers only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            pydantic.ValidationError: the file holds another document.
        """
        return cls.model_validate_json(path.read_bytes())

    def to_json(self) -> str:
        """The document as indented JSON; floats keep every digit."""
        return self.model_dump_json(indent=1)

    def write(self, path: Path) -> None:
        """Write the document as JSON; the file appears whole or not at all."""
        atomic.write_text(path, self.to_json())
