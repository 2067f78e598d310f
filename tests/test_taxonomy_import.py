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


def test_the_sample_in_the_layout_of_esco(tmp_path) -> None:
    from hjc.data.sample import sample_titles, write_sample_esco
    from hjc.taxonomy import isco08
    from hjc.taxonomy.readers import import_taxonomy

    folders = [write_sample_esco(tmp_path / language, language) for language in ("en", "uk")]
    imported = import_taxonomy("esco", folders)
    tree = imported.taxonomy
    assert imported.report.levels == [10, 43, 130, 436, 436] and set(tree.titles) == {"en", "uk"}
    assert tree.truncate(4).codes == isco08().codes
    titles = sample_titles().query("split == 'train' and language in ['en', 'uk']")
    labels = {tree.titles[x][i] for x in ("en", "uk") for i in range(len(tree.codes)) if "." in tree.codes[i]}
    labels |= {text.text for text in imported.texts if text.kind == "alternative"}
    assert labels == set(titles["title"])
    with pytest.raises(ValueError, match="'xx'"):
        write_sample_esco(tmp_path, "xx")
