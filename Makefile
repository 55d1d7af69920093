# Two commands do everything: `make course` and `make test`. Both install first, into .venv.
PYTHON ?= python3.11
SCALE ?= full
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
# Nothing is looked for on the network: everything ships.
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: course test instructor install lint format clean

course: install
	$(BIN)/rarft course build --scale $(SCALE)

test: install lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
	$(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=600 -p no:cacheprovider notebooks/04_*.ipynb notebooks/05_*.ipynb

# The chapters with their solutions, in build/instructor; `make course` writes them as well.
instructor: install
	$(BIN)/rarft course instructor

install: $(VENV)/.installed

# Without an NVIDIA GPU, torch comes as its CPU build: from PyTorch's own index, or, where that is out of reach,
# from whatever index pip is set up with. TORCH_INDEX= (empty) skips the attempt.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := torch==2.13.0
TORCHVISION := torchvision==0.28.0
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Of all that pip says, the names of the packages as they come.
NAMES := awk '/^(Collecting|  *Downloading|Successfully)/ { if ($$1 == "Collecting") printf "  %3d  %s\n", ++n, $$2; fflush() } /^ERROR/'

# On Linux, pip takes the very files that were tested, or none; elsewhere, and with HASHES= (empty), their versions.
HASHES := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' '-')),requirements.hashes)

$(VENV)/.installed: requirements.txt requirements.lock requirements.hashes pyproject.toml
	@echo "[1/4] virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi >/dev/null 2>&1; then echo "[2/4] torch, with CUDA for the GPU found here"; \
	else echo "[2/4] torch, its CPU build: no NVIDIA GPU here"; \
	  { [ -n "$(TORCH_INDEX)" ] && $(PIP) install --quiet --retries 0 --timeout 20 --index-url $(TORCH_INDEX) $(TORCH) $(TORCHVISION) 2>/dev/null; } \
	  || { $(PIP) install --quiet $(TORCH) && $(PIP) install --quiet --no-deps $(TORCHVISION); }; fi
	@echo "[3/4] the packages of requirements.txt and what they need, about 230"
	@if [ -n "$(HASHES)" ]; then \
	  $(PIP) install --progress-bar off --no-deps --require-hashes -r $(HASHES) | $(NAMES); fi
	@$(PIP) install --progress-bar off -r requirements.txt -c requirements.lock | $(NAMES)
	@echo "[4/4] rarft itself, editable"
	@$(PIP) install --quiet --no-deps -e .
	@touch $@

# Form, imports, types and the workflow; `make format` fixes what can be fixed by itself.
lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/course.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build $(VENV)
