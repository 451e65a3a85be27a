"""The tables that ship are what their README says they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from healthrisk import datasets
from healthrisk import spec as specs


def test_breast_cancer_is_scikit_learns_copy() -> None:
    shipped = pd.read_csv(Path(datasets.__path__[0]) / "breast-cancer.csv")
    original = load_breast_cancer()
    np.testing.assert_array_equal(shipped.drop(columns="diagnosis").to_numpy(), original.data)
    np.testing.assert_array_equal(shipped["diagnosis"] == "malignant", original.target == 0)


@pytest.mark.parametrize("name", specs.builtin_names())
def test_shipped_data_sets_have_gates_on_what_probabilities_mean_and_are_worth(name: str) -> None:
    spec = specs.load(name)
    gated = {gate.metric.name for gate in spec.gates}
    assert {"calibration_slope", "calibration_in_the_large", "net_benefit", "log_loss_gain"} <= gated
    assert not spec.is_binary or {"sensitivity", "ppv"} <= gated
