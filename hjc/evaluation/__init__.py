"""How good a model is: metrics, calibration, decision rules, and what is kept of its validation rows."""
