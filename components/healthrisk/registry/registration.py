"""What the register step hands to the steps after it."""

from healthrisk.documents import Document


class Registration(Document):
    """A registered version: its number, its alias and why it has it, its bundle's address and digest, and its run.

    `awaits_rollout` says that it would be champion, had the run not asked that a rollout brings it in.
    """

    name: str
    version: str
    alias: str
    reason: str
    bundle: str
    digest: str
    run: str
    awaits_rollout: bool = False
