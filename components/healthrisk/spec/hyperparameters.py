"""Which hyper-parameters a spec may search, and the values that each takes.

They are scikit-learn's, which a server does not have: a spec is checked where it is read, whoever reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from healthrisk.spec.policies import Family


@dataclass(frozen=True)
class Values:
    """What one parameter takes: one of `words`, a whole number from `whole` up, or a number within bounds.

    `number` is a lower bound, itself allowed where `closed`, and an upper one, itself allowed.
    """

    words: tuple[str | bool | None, ...] = ()
    whole: int | None = None
    number: tuple[float, float] | None = None
    closed: bool = False

    def hold(self, value: Any) -> bool:
        """Say whether a value is one of them."""
        if value is None or isinstance(value, bool | str):
            return any(value is word or (isinstance(value, str) and value == word) for word in self.words)
        if isinstance(value, int) and self.whole is not None:
            return value >= self.whole
        if self.number is None or not isinstance(value, int | float):
            return False
        low, high = self.number
        return low < value <= high or (self.closed and value == low)

    @property
    def allowed(self) -> str:
        """What is allowed, for people."""
        texts = [repr(word) if isinstance(word, str) else str(word).lower() for word in self.words]
        if self.whole is not None:
            texts.append(f"a whole number from {self.whole} up")
        if self.number:
            low, high = self.number
            between = f" to {high:g}" if high < float("inf") else ""
            texts.append(f"a number {'from' if self.closed else 'above'} {low:g}{between}")
        return " or ".join(texts).replace("none", "null")


_ABOVE_0 = Values(number=(0, float("inf")))
_FROM_0 = Values(number=(0, float("inf")), closed=True)
_SWITCH = Values(words=(True, False))
_COUNT = Values(whole=1)
_DEPTH = Values(words=(None,), whole=1)
_LEAVES = Values(words=(None,), whole=2)
_BALANCED = Values(words=(None, "balanced"))

SEARCHABLE: dict[Family, dict[str, Values]] = {
    "logistic_regression": {
        "C": _ABOVE_0,
        "class_weight": _BALANCED,
        "fit_intercept": _SWITCH,
        "l1_ratio": Values(number=(0, 1), closed=True),
        "max_iter": _COUNT,
        "solver": Values(words=("lbfgs", "newton-cg", "newton-cholesky", "sag", "saga")),
        "tol": _ABOVE_0,
    },
    "random_forest": {
        "bootstrap": _SWITCH,
        "ccp_alpha": _FROM_0,
        "class_weight": Values(words=(None, "balanced", "balanced_subsample")),
        "criterion": Values(words=("gini", "entropy", "log_loss")),
        "max_depth": _DEPTH,
        "max_features": Values(words=(None, "sqrt", "log2"), whole=1, number=(0, 1)),
        "max_leaf_nodes": _LEAVES,
        "max_samples": Values(words=(None,), whole=1, number=(0, 1)),
        "min_impurity_decrease": _FROM_0,
        "min_samples_leaf": Values(whole=1, number=(0, 0.999)),
        "min_samples_split": Values(whole=2, number=(0, 1)),
        "n_estimators": _COUNT,
    },
    "gradient_boosting": {
        "class_weight": _BALANCED,
        "l2_regularization": _FROM_0,
        "learning_rate": _ABOVE_0,
        "max_depth": _DEPTH,
        "max_features": Values(number=(0, 0.999)),
        "max_iter": _COUNT,
        "max_leaf_nodes": _LEAVES,
        "min_samples_leaf": _COUNT,
    },
}


def check(search: Mapping[Family, Mapping[str, tuple[Any, ...]]]) -> None:
    """Check a search space.

    Raises:
        ValueError: it names a parameter that its family lacks, or a value that the parameter does not take.
    """
    for family, grid in search.items():
        known = SEARCHABLE[family]
        for name, values in grid.items():
            if name not in known:
                raise ValueError(f"search.{family}: there is no parameter {name!r}; it has {', '.join(known)}")
            for value in values:
                if not known[name].hold(value):
                    raise ValueError(f"search.{family}.{name}: {value!r} is not {known[name].allowed}")
