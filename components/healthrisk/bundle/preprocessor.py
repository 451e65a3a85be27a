"""The fitted preprocessor, in the one form that training and serving both apply.

It holds plain numbers and knows nothing of scikit-learn, so a server needs neither pickle nor a matching version.
Arithmetic is float64 throughout and rounded to float32 once, at the very end: a tree that sees values imputed and
scaled in float32 sends rows to the other side of its thresholds.
"""

import json
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """Median or most frequent imputation, standard scaling of numbers, one-hot codes.

    `fill` [features] replaces NaN; `numbers` are the positions of scaled features with `mean` and `scale`;
    `codes` and `levels` name, for each one-hot output, the feature's position and the code it stands for.
    Outputs are the scaled numbers, then the one-hot columns, as listed in `outputs`.
    A code that no output stands for, such as one the training part never held, gives zeros.
    """

    features: tuple[str, ...]
    outputs: tuple[str, ...]
    fill: NDArray[np.float64]
    numbers: NDArray[np.intp]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    codes: NDArray[np.intp]
    levels: NDArray[np.float64]

    def transform(self, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the model's input [rows, outputs] for an encoded matrix [rows, features]."""
        filled = np.where(np.isnan(matrix), self.fill, matrix)
        result = np.empty((len(matrix), len(self.outputs)), dtype=np.float32)
        split = len(self.numbers)
        np.divide(filled[:, self.numbers] - self.mean, self.scale, out=result[:, :split], casting="same_kind")
        result[:, split:] = filled[:, self.codes] == self.levels
        return result

    def to_json(self) -> str:
        """The parameters as JSON; floats keep every digit."""
        return json.dumps(
            {
                "features": self.features,
                "outputs": self.outputs,
                "fill": self.fill.tolist(),
                "numbers": {"index": self.numbers.tolist(), "mean": self.mean.tolist(), "scale": self.scale.tolist()},
                "codes": {"index": self.codes.tolist(), "level": self.levels.tolist()},
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, document: str) -> Self:
        """Read what `to_json` wrote."""
        data = json.loads(document)
        numbers, codes = data["numbers"], data["codes"]
        return cls(
            features=tuple(data["features"]),
            outputs=tuple(data["outputs"]),
            fill=np.asarray(data["fill"], dtype=np.float64),
            numbers=np.asarray(numbers["index"], dtype=np.intp),
            mean=np.asarray(numbers["mean"], dtype=np.float64),
            scale=np.asarray(numbers["scale"], dtype=np.float64),
            codes=np.asarray(codes["index"], dtype=np.intp),
            levels=np.asarray(codes["level"], dtype=np.float64),
        )
