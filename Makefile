# make demo   creates .venv, installs, trains on the bundled sample, prints the per-level table, codes a few ads
# make desk   installs, makes the demo if there is none, and opens the coder's desk with it and the bundled ads
# make test   installs what tests need, runs lint, types and all tests
# make test-more   tests that need a browser, a database server or heavy packages (apt-get install chromium postgresql default-jre-headless)
# make check  lint, types and the fast half of the tests: for the inner loop
# make docs   builds the documentation as a site, with links checked: site/index.html
# make dist   builds sdist and wheel, checks both, and the tag
# make lock   writes requirements.lock: every package with hashes, for machines without a network
# make clean  removes .venv and caches (not outputs/)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
TEST_EXTRAS := dev,offline,lora,wandb,tensorboard,datasets,excel,prepare,stemming,search,peers,translate,llm,explain,ann,map,serve,onnx,fast
DEMO_RUN ?= outputs/demo

# processes that run tests
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

.PHONY: help install demo desk test test-more check docs dist lock lint types clean
help:
	@sed -n 's/^# make/make/p' Makefile

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"hjc needs Python 3.11 to 3.13, got {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) -e ".[offline]"
	@touch $@

$(VENV)/.installed-more: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) -e ".[$(TEST_EXTRAS),mlflow,openvino,more]"
	@touch $@ $(VENV)/.installed-test $(VENV)/.installed

$(VENV)/.installed-test: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) -e ".[$(TEST_EXTRAS)]"
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/python train.py experiment=demo run_dir=$(DEMO_RUN)
	$(BIN)/hjc predict $(DEMO_RUN) examples/ads.csv -o $(DEMO_RUN)/coded.csv --text-column title --text-column description --level 4 --top-k 3
	@$(BIN)/python examples/show.py $(DEMO_RUN)/coded.csv

$(VENV)/.installed-desk: $(VENV)/.created pyproject.toml constraints.txt
	$(PIP) -e ".[offline,serve]"
	@touch $@ $(VENV)/.installed

desk: $(VENV)/.installed-desk
	@test -f $(DEMO_RUN)/config.json || $(MAKE) demo
	$(BIN)/hjc serve demo=$(DEMO_RUN) --store outputs/desk.db --ads sample --open

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/mypy

test: lint types
	$(PYTEST)

test-more: $(VENV)/.installed-more docs
	$(PYTEST) -m more

check: lint types
	$(PYTEST) -m "not slow"

# the tools of the site live apart, as those of releases do: no test needs them but make docs itself
$(VENV)-docs/.created: $(VENV)/.created pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --disable-pip-version-check -c constraints.txt \
	  $$($(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"])')
	@touch $@

docs: $(VENV)-docs/.created
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict

# the tools of releases live apart: nobody else needs them
$(VENV)-release/.created: $(VENV)/.created
	$(PYTHON) -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip install --disable-pip-version-check build twine check-wheel-contents uv
	@touch $@

dist: $(VENV)-release/.created
	@tag=$$(git describe --exact-match --tags 2>/dev/null || true); version=v$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml); \
	  if [ -n "$$tag" ] && [ "$$tag" != "$$version" ]; then echo "the tag is $$tag, pyproject.toml says $$version"; exit 1; fi
	rm -rf dist
	$(VENV)-release/bin/python -m build
	$(VENV)-release/bin/twine check --strict dist/*
	$(VENV)-release/bin/check-wheel-contents dist/*.whl

lock: $(VENV)-release/.created
	$(VENV)-release/bin/uv pip compile pyproject.toml --extra offline -c constraints.txt --python-version 3.11.0 --generate-hashes --no-header --no-annotate -q -o requirements.lock

clean:
	rm -rf $(VENV) $(VENV)-release $(VENV)-docs site build dist .mypy_cache .ruff_cache .pytest_cache
