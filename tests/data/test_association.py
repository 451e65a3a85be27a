"""One figure for any two columns: near 0 where nothing goes together, near 1 where one gives the other away."""

import numpy as np
import pytest

from healthrisk.data import association
from healthrisk.spec import DatasetSpec

Heart = tuple[DatasetSpec, np.ndarray, np.ndarray]


@pytest.mark.parametrize(("one_is_code", "other_is_code"), [(False, False), (True, False), (True, True)])
def test_any_two_columns_have_a_figure(one_is_code: bool, other_is_code: bool) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4, 2000).astype(float), rng.integers(0, 4, 2000).astype(float)
    assert association.strength(one, other, one_is_code, other_is_code) < 0.08
    # A code's own names say nothing: another order tells as much.
    renamed = np.array([2.0, 0.0, 3.0, 1.0])[one.astype(int)] if one_is_code else one
    assert association.strength(renamed, one, one_is_code, other_is_code) == pytest.approx(1, abs=0.01)
    gaps = np.where(rng.random(2000) < 0.3, np.nan, one)
    assert association.strength(gaps, one, one_is_code, other_is_code) == pytest.approx(1, abs=0.01)


def test_what_says_nothing_is_0() -> None:
    assert association.strength(np.full(50, 3.0), np.arange(50.0), False, False) == 0
    assert association.strength(np.full(50, np.nan), np.arange(50.0), False, False) == 0


def test_the_strongest_of_heart_disease_are_those_known(heart: Heart) -> None:
    associations = association.measure(*heart)
    assert associations.labels[-1] == heart[0].target.label
    assert len(associations.labels) == 14
    strengths = np.array(associations.strengths)
    assert (strengths == strengths.T).all()
    assert ((strengths >= 0) & (strengths <= 1)).all()
    strongest = [associations.labels[place] for place in np.argsort(-strengths[-1, :-1])[:3]]
    assert set(strongest) == {"Thallium stress test", "Chest pain", "Major vessels coloured by fluoroscopy"}
