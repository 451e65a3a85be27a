"""Write a bundle's scikit-learn pipeline in the form each peer loads: `python prepare.py BUNDLE FOLDER`.

The same fitted objects go everywhere; the answers are compared with the bundle's before anything is timed.
"""

import json
import sys
from pathlib import Path

import joblib
import mlflow.sklearn
from sklearn.pipeline import make_pipeline

bundle, folder = map(Path, sys.argv[1:])
pipeline = make_pipeline(joblib.load(bundle / "preprocessor.joblib"), joblib.load(bundle / "model.joblib"))
folder.mkdir(exist_ok=True)
joblib.dump(pipeline, folder / "model.joblib")
mlflow.sklearn.save_model(
    pipeline, folder / "mlflow", pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle"
)
settings = {"name": "risk", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "model.joblib"}}
(folder / "model-settings.json").write_text(json.dumps(settings))
