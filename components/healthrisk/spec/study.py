"""What guidelines ask of a study and only people know: a report shows it, and says where nothing was given."""

from healthrisk.documents import Document


class Study(Document):
    """Who was studied, how, by whom and for what; an empty field is reported as not available."""

    dates: str = ""
    setting: str = ""
    eligibility: str = ""
    treatments: str = ""
    # How, and by whom, it was established what became of each patient.
    assessment: str = ""
    intended_use: str = ""
    users: str = ""
    ethics: str = ""
    funding: str = ""
    protocol: str = ""
    registration: str = ""
    sharing: str = ""
    involvement: str = ""
    developer: str = ""
    contact: str = ""
