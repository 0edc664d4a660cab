# `make install` sets up Seriesport, `make demo` runs the main job, `make test` passes the tests;
# each installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
CLIENTS := xnatpy pyxnat yaxil
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-annotate \
	--no-header --python-version 3.11 --quiet --extra build --extra workflow

# Commands of libraries, which would stand in front of DCMTK's and GDCM's own.
OTHERS := echoscp echoscu findscu getscu movescu qrscp storescp storescu gdcm*

.PHONY: install demo test everyday check compiled peers bench-smoke lock clean

install: $(VENV)/run.stamp  ## Seriesport and the workflow in .venv, in the versions of the lock file.

demo: $(VENV)/run.stamp $(if $(XNAT),$(VENV)/test.stamp)  ## The main job on public images; XNAT=1 adds a leg with a test XNAT.
	$(BIN)/python -m seriesport.cli.demo demo
	-@PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --unlock --quiet all --directory demo
	PATH="$(CURDIR)/$(BIN):$$PATH" seriesport serve demo/archive --aet ARCHIVE --name demo -- \
		snakemake --quiet all --directory demo
	@echo "The table is demo/results/cohort.tsv; images and previews lie below demo/results/converted."
ifdef XNAT
	-@[ ! -f demo/xnat/config/config.yaml ] || \
		PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --unlock --quiet all --directory demo/xnat
	PATH="$(CURDIR)/$(BIN):$$PATH" seriesport serve demo/archive --aet ARCHIVE --name demo -- \
		python tests/demo_xnat.py demo/xnat -- snakemake --quiet all --directory demo/xnat
endif

test: check peers compiled  ## All tests, the slow ones too.
	$(BIN)/pytest -m "" --numprocesses 2 --dist loadgroup --no-loadscope-reorder

everyday: check peers compiled  ## The tests without the slow ones.
	$(BIN)/pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder

check: $(VENV)/test.stamp  ## Format, lint, types and layers.
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/snakefmt --check workflow Snakefile
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

# Where PYTHONDONTWRITEBYTECODE is set, every process of the tests would compile the library again.
compiled: $(VENV)/run.stamp
	@$(BIN)/python -m compileall -q src

peers: $(CLIENTS:%=$(VENV)/clients/%.stamp)  ## Orthanc, DCMTK, dicom3tools and XNAT clients, for the tests.
	@sh tests/install_peers.sh

bench-smoke: $(VENV)/test.stamp peers  ## Every benchmark in a tiny form: does it still run?
	$(BIN)/python benchmarks/agreement.py --built
	$(BIN)/python benchmarks/archive_get.py --series 2 --slices 3 --size 32 --rounds 1 --parallel 2
	$(BIN)/python benchmarks/archive_store.py --series 2 --slices 3 --size 32 --rounds 1 --parallel 2
	$(BIN)/python benchmarks/cohorts.py --sizes 10 --run 10
	$(BIN)/python benchmarks/convert.py --slices 3 --runs 1
	$(BIN)/python benchmarks/reading.py --slices 3 --times 2 --rounds 1
	$(BIN)/python benchmarks/series.py --slices 3 --times 2 --rounds 1
	$(BIN)/python benchmarks/vendors.py --files 4 --rounds 1
	$(BIN)/python benchmarks/whole_job.py --slices 3 --size 32 --rounds 1
	$(BIN)/python benchmarks/xnat.py --files 3 --rounds 1

# Each client of XNAT has an environment of its own: their dependencies clash.
$(VENV)/clients/%.stamp: tests/peers/xnat/clients/%.lock | $(VENV)/run.stamp
	rm -rf $(VENV)/clients/$*
	$(PYTHON) -m venv $(VENV)/clients/$*
	$(VENV)/clients/$*/bin/pip --quiet --disable-pip-version-check install --no-deps \
		--only-binary :all: --require-hashes --requirement $<
	@touch $@

$(VENV)/run.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Seriesport needs Python 3.11 or newer; type: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || sh tests/install_peers.sh python3-venv
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes --requirement requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@cd $(BIN) && rm -f $(OTHERS)
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp requirements-test.lock
	$(PIP) install --require-hashes --requirement requirements-test.lock
	@cd $(BIN) && rm -f $(OTHERS)
	@touch $@

lock:  ## New lock files from pyproject.toml.
	$(PIP) install uv
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --extra slurm --extra test --constraint requirements.lock --output-file requirements-test.lock

clean:  ## Remove the environment and the demo; results stay.
	rm -rf $(VENV) demo
