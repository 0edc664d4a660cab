#!/bin/sh
# Installs Seriesport, with what its lock file pins and nothing else, into the Python that is first
# on the path. Both container definitions run this over a copy of the files that they name.
set -eu
cd "$(dirname "$0")/.."
pip() { python -m pip --disable-pip-version-check --no-cache-dir "$@"; }
pip install --require-hashes --requirement requirements.lock
pip install --no-deps --no-build-isolation .
seriesport --help >/dev/null
snakemake --version >/dev/null
dcm2niix -h >/dev/null
