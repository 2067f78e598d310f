"""Reports of runs, from row scores.

``hjc.report.save.save_evaluations`` writes what a run directory keeps of its evaluation: row scores and the report.
``hjc.report.run.write_report`` writes one run's ``report.html`` and plots; ``hjc.report.comparison.compare_runs`` puts
several runs side by side. Import from the modules: plots need matplotlib, which takes a moment to load.
"""
