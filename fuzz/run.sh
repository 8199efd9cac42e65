#!/usr/bin/env bash
# fuzz/run.sh MINUTES [NAME...]: fuzzes the readers of strangers' files; see fuzz/__main__.py.
set -euo pipefail
cd "$(dirname "$0")/.."

make --silent .venv/installed
.venv/bin/python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt \
	--no-build-isolation --editable '.[fuzz]'
export OMP_NUM_THREADS=1
exec .venv/bin/python -m fuzz "$@"
