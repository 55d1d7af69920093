# Two commands do everything: `make course` and `make test`. Both install first, into .venv.
PYTHON ?= python3.11
SCALE ?= full
VENV := .venv
BIN := $(VENV)/bin
# Nothing is looked for on the network: everything ships.
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM = false

.PHONY: course test install lint clean

course: install
	$(BIN)/python -m rarft course build --scale $(SCALE)

test: install lint
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=600 -p no:cacheprovider notebooks/04_*.ipynb notebooks/05_*.ipynb

install: $(VENV)/.installed

# Without an NVIDIA GPU, torch comes as its CPU build: from PyTorch's own index, or, where that is out of reach,
# from whatever index pip is set up with. TORCH_INDEX= (empty) skips the attempt.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := torch==2.13.0 torchvision==0.28.0

$(VENV)/.installed: requirements.txt requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@if command -v nvidia-smi >/dev/null 2>&1; then echo "GPU found: torch with CUDA"; \
	else echo "no GPU: CPU build of torch"; \
	  { [ -n "$(TORCH_INDEX)" ] && $(BIN)/python -m pip install --quiet --retries 0 --timeout 20 --index-url $(TORCH_INDEX) $(TORCH) 2>/dev/null; } \
	  || { $(BIN)/python -m pip install --quiet torch==2.13.0 && $(BIN)/python -m pip install --quiet --no-deps torchvision==0.28.0; }; fi
	$(BIN)/python -m pip install --quiet -r requirements.txt -c requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

lint: install
	$(BIN)/ruff check rarft tests benchmarks

clean:
	rm -rf build $(VENV)
