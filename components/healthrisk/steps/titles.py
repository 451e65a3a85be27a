"""What each step is called where people read: on a terminal and in KFP's pages."""

from healthrisk.spec import Family
from healthrisk.spec.policies import family_name

INGEST = "Ingest the table"
VALIDATE = "Validate it"
PREPROCESS = "Split and preprocess"
EVALUATE = "Evaluate and choose"
EVIDENCE = "Gather evidence"
REGISTER = "Register the winner"
DEPLOY = "Deploy it"


def train(family: Family) -> str:
    """Return what training a family is called."""
    return f"Train {family_name(family)}"
