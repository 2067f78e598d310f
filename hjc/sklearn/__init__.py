"""hjc for scikit-learn: an estimator with ``fit(X, y)``, for its pipelines, searches and cross-validation."""

from hjc.sklearn.estimator import HierarchicalClassifier

__all__ = ["HierarchicalClassifier"]
