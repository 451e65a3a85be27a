"""Gates and verdicts are called as people call them."""

from healthrisk.spec import names


def test_gates_are_named_in_words() -> None:
    assert names.gate_name({"metric": "brier"}) == "Brier score"
    assert names.gate_name({"metric": "x", "name": "Something"}) == "Something"
    assert names.verdict({"passed": False}) == "missed"
    assert names.verdict({"passed": True, "verdict": "abstains"}) == "abstains"
