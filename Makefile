# `make demo` runs the main job, `make test` passes the tests; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --quiet

.PHONY: demo test check lock clean

demo: $(VENV)/demo.stamp
	$(BIN)/seriesport --version

test: $(VENV)/test.stamp
	$(BIN)/pytest

$(VENV)/demo.stamp: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp requirements-test.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-test.lock
	touch $@

lock:
	$(BIN)/pip install --quiet uv
	$(COMPILE) --extra build --extra workflow --output-file requirements.lock
	$(COMPILE) --extra build --extra workflow --extra test --constraint requirements.lock --output-file requirements-test.lock

clean:
	rm -rf $(VENV) results .snakemake
