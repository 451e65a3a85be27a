"""The tables that ship are what their README says they are."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

from healthrisk import datasets


def test_breast_cancer_is_scikit_learns_copy() -> None:
    shipped = pd.read_csv(Path(datasets.__path__[0]) / "breast-cancer.csv")
    original = load_breast_cancer()
    np.testing.assert_array_equal(shipped.drop(columns="diagnosis").to_numpy(), original.data)
    np.testing.assert_array_equal(shipped["diagnosis"] == "malignant", original.target == 0)
