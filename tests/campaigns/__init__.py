"""Attacks on hjc in large numbers, each repeatable by its seed: ``python -m tests.campaigns tables --count 2000``."""
