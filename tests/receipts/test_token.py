import base64
import re
from collections.abc import Callable

import numpy as np
import pytest

from healthrisk.bundle import Bundle
from healthrisk.inference.scorer import Scorer, risk_levels
from healthrisk.receipts import probability_bins
from healthrisk.receipts.groups import SensitiveGroups
from healthrisk.receipts.token import Issuer, Reader, ReceiptError
from tests.support import sample_bundle

KEY, OTHER = b"k" * 32, b"o" * 32
CASES = (("heart-disease", "random_forest"), ("obesity", "logistic_regression"), ("breast-cancer", "random_forest"))


@pytest.mark.parametrize(("dataset", "family"), CASES)
def test_a_receipt_says_bins_groups_model_and_version_and_nothing_else(
    bundle_of: Callable[..., Bundle], dataset: str, family: str
) -> None:
    bundle = bundle_of(dataset, family)
    matrix, _ = sample_bundle.rows_of(bundle.spec, 7)
    probabilities = Scorer(bundle).probabilities(matrix)
    texts = Issuer(bundle, KEY).issue(matrix, probabilities)
    receipts = [Reader((KEY,)).read(text) for text in texts]
    assert len(texts) == len(matrix) == len({receipt.number for receipt in receipts})
    assert {(receipt.model, receipt.digest) for receipt in receipts} == {(bundle.spec.name, bundle.digest)}
    chances = probability_bins.probabilities(bundle.spec, probabilities)
    expected = np.minimum(np.floor(chances * 50), 49)
    assert np.array_equal([receipt.bins for receipt in receipts], expected)
    groups = SensitiveGroups(bundle.spec, bundle.reference)
    assert np.array_equal([receipt.groups for receipt in receipts], groups.places(matrix))
    assert len({len(text) for text in texts}) == 1
    assert re.fullmatch(r"[A-Za-z0-9_-]+", texts[0])
    # The length leaves no room for more.
    name = len(bundle.spec.name)
    fields = 1 + 4 + 32 + (1 + name) + (1 + chances.shape[1]) + (1 + len(groups.names)) + 16
    assert 12 <= len(base64.urlsafe_b64decode(texts[0])) - fields <= 14


@pytest.mark.parametrize("dataset", ["heart-disease", "obesity"])
def test_bins_of_rows_are_those_of_all_together(bundle_of: Callable[..., Bundle], dataset: str) -> None:
    spec = bundle_of(dataset, "random_forest").spec
    classes = len(spec.target.classes)
    rng = np.random.default_rng(3)
    drawn = rng.dirichlet(np.full(classes, 0.3), 5000).astype(np.float32)
    edges = np.arange(51, dtype=np.float32) / 50
    at_edges = np.zeros((153, classes), dtype=np.float32)
    at_edges[:, 1] = np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(1))])
    at_edges[:, 0] = 1 - at_edges[:, 1]
    for given in (drawn, at_edges):
        together = probability_bins.bins(probability_bins.probabilities(spec, given))
        assert probability_bins.RowBins(spec).of(given) == together.tolist()


def test_of_two_classes_the_bin_keeps_the_risk_level(bundle_of: Callable[..., Bundle]) -> None:
    spec = bundle_of("heart-disease", "random_forest").spec
    near = np.array([0.3, 0.7, *np.nextafter([0.3, 0.7], 0), 0, 1], dtype=np.float32)
    probabilities = np.column_stack([1 - near, near])
    bins = probability_bins.bins(probability_bins.probabilities(spec, probabilities))[:, 0]
    assert (bins >= 15).tolist() == [level != "Low" for level in risk_levels(spec, probabilities)]
    assert (bins >= 35).tolist() == [level == "High" for level in risk_levels(spec, probabilities)]


def test_groups_are_those_of_the_subgroup_audit(bundle_of: Callable[..., Bundle]) -> None:
    from healthrisk.evidence import fairness

    bundle = bundle_of("heart-disease", "random_forest")
    matrix, _ = sample_bundle.rows_of(bundle.spec, 7)
    matrix[0, bundle.spec.features.index("sex")] = np.nan
    groups = SensitiveGroups(bundle.spec, bundle.reference)
    for position, name in enumerate(bundle.spec.sensitive):
        column = bundle.spec.by_name[name]
        values = matrix[:, bundle.spec.features.index(name)]
        names, places = fairness.groups(bundle.spec, column, values)
        assert groups.names[name] == tuple(names)
        assert [row[position] for row in groups.places(matrix)] == places.tolist()


def test_bands_without_a_spec_of_them_lie_near_the_quartiles(bundle_of: Callable[..., Bundle]) -> None:
    bundle = bundle_of("heart-disease", "random_forest")
    evidence = bundle.spec.evidence.model_copy(update={"bands": {}})
    matrix, _ = sample_bundle.rows_of(bundle.spec, 7)
    spec = bundle.spec.model_copy(update={"evidence": evidence})
    position = spec.sensitive.index("age")
    places = [row[position] for row in SensitiveGroups(spec, bundle.reference).places(matrix)]
    assert np.bincount(places, minlength=5)[:4] == pytest.approx(len(matrix) / 4, abs=0.06 * len(matrix))


@pytest.fixture(scope="module")
def receipt(bundle_of: Callable[..., Bundle]) -> str:
    bundle = bundle_of("heart-disease", "random_forest")
    matrix, _ = sample_bundle.rows_of(bundle.spec, 7)
    return Issuer(bundle, KEY).issue(matrix[:1], Scorer(bundle).probabilities(matrix[:1]))[0]


def test_every_changed_bit_is_found(receipt: str) -> None:
    raw = base64.urlsafe_b64decode(receipt)
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ReceiptError, match="signature"):
            Reader((KEY,)).read(base64.urlsafe_b64encode(changed).decode())


@pytest.mark.parametrize("text", ["", "AAAA", "ö", "A B=", "x" * 1025, "A" * 5, "=" * 8, "\0", "A" * 1024])
def test_what_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(ReceiptError):
        Reader((KEY,)).read(text)


def test_a_receipt_that_is_cut_is_refused(receipt: str) -> None:
    for length in range(len(receipt)):
        with pytest.raises(ReceiptError):
            Reader((KEY,)).read(receipt[:length])


def test_keys_can_be_changed_one_after_the_other(receipt: str) -> None:
    with pytest.raises(ReceiptError, match="none of the keys"):
        Reader((OTHER,)).read(receipt)
    assert Reader((OTHER, KEY)).read(receipt) == Reader((KEY,)).read(receipt)


def test_the_same_receipt_in_the_other_alphabet_is_the_same_receipt(receipt: str) -> None:
    other = receipt.translate(str.maketrans("-_", "+/"))
    assert Reader((KEY,)).read(other) == Reader((KEY,)).read(receipt)
