"""``import hjc`` is light, and the names that are imported on first use are there."""

import subprocess
import sys

import pytest

import hjc


def test_import_needs_nothing_heavy():
    code = (
        "import sys, hjc; hjc.taxonomy.isco08(); "
        "print([m for m in ('torch', 'pandas', 'sklearn', 'hydra', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_on_first_use():
    assert hjc.JobData.__name__ == "JobData" and callable(hjc.load) and hjc.__version__
    assert {"JobData", "load", "Taxonomy", "Classifier"} <= set(dir(hjc))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hjc.nothing
