"""One training run: typed settings, the workflow, and the record of where a model is from."""
