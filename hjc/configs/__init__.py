"""The YAML files behind ``train.py`` and ``hjc train``: one folder a group, one file an option (see README.md)."""
