# `make demo` converts, verifies and scores small FCNs, and makes a picture; `make test` runs every check. Both set up .venv.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
install = @$(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt $(1) \
	> $(VENV)/pip.log 2>&1 || { cat $(VENV)/pip.log; false; }
ZOO := tests/golden/fcn/voc-fcn8s
VERSION := import sys; print("%d.%d" % sys.version_info[:2])

.PHONY: demo test

# One thread is fastest for these small nets.
demo: $(VENV)/installed
	@mkdir -p demo/models
	@echo "A narrow FCN-8s that Caffe wrote, compared with what Caffe computed:"
	$(BIN)/fcn-convert $(ZOO)/weights.caffemodel -o demo/voc-fcn8s.safetensors --verify $(ZOO)/io.npz
	@printf '\nThe FCN-8s in weights/, trained on rendered streets, and the paper'"'"'s Table 2 on such streets:\n'
	$(BIN)/fcn-convert weights/shapes-fcn8s.caffemodel -o demo/models/shapes-fcn8s.safetensors
	OMP_NUM_THREADS=1 $(BIN)/fcn-repro --home demo --table 2 --data shapes -o demo/report
	@printf '\nImages, labels and predictions are in demo/report/cvpr2015-table-2.html.\n'
	@printf '\nWhat the FCN-8s sees in docs/street/image.png:\n'
	OMP_NUM_THREADS=1 $(BIN)/fcn-segment docs/street/image.png --model shapes-fcn8s -o demo/picture

test: $(VENV)/installed-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python $(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2

$(VENV)/installed: pyproject.toml constraints.txt $(VENV)/made
	@echo "Installing caffe2torch into $(VENV); the first time, with torch, it takes minutes."
	$(call install,setuptools torch)
	$(call install,--no-build-isolation --editable .)
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(call install,--no-build-isolation --editable '.[dev]')
	@touch $@

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or later is needed" if sys.version_info < (3, 10) else 0)'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# A .venv is made anew when its interpreter is gone, or when PYTHON asks for another version.
HAVE := $(shell $(BIN)/python -c '$(VERSION)' 2>/dev/null)
WANT := $(if $(filter file,$(origin PYTHON)),$(or $(HAVE),any),$(shell $(PYTHON) -c '$(VERSION)'))
ifneq ($(HAVE),$(WANT))
.PHONY: $(VENV)/made
endif
