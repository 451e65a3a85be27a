"""What the register step hands to the steps after it."""

from healthrisk.documents import Document


class Registration(Document):
    """A registered version: its number, its alias and why it has it, its bundle's address and digest, and its run."""

    name: str
    version: str
    alias: str
    reason: str
    bundle: str
    digest: str
    run: str
