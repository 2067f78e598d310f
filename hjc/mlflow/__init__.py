"""hjc for MLflow: a flavour of ``mlflow.pyfunc`` whose files are a model directory; nothing is pickled.

import hjc.mlflow

info = hjc.mlflow.log_model("outputs/run", registered_model_name="isco-ads")
model = mlflow.pyfunc.load_model(info.model_uri)
model.predict(ads, params={"level": 4, "top_k": 3})
hjc.mlflow.load_model(info.model_uri)  # the classifier of hjc itself
"""

from hjc.mlflow.flavour import load_model, log_model, save_model

__all__ = ["load_model", "log_model", "save_model"]
