# Two commands: `make demo` shows the main job, `make test` checks everything. Both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NEPS := .venv-neps
FOLDERS := graphs datasets proxies encoders predictor search
STAMP := $(VENV)/.installed
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test test-neps lint format bench clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 11

setup: $(STAMP)  ## make .venv with all extras (idempotent)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "archcast needs Python 3.11 or newer; run: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: setup  ## forecasts for eight networks, then a predictor trained on 156 labels; writes out/demo.png
	$(BIN)/python examples/demo.py

test: setup  ## lint, types and the test suite
	$(MAKE) lint
	$(BIN)/python -m pytest -n 2
	$(MAKE) test-neps

test-neps: $(NEPS)/.installed  ## the NePS adapter, whose framework wants older pandas and networkx than ours
	$(NEPS)/bin/python -m pytest -p no:xdist tests/search/adapters/test_neps.py \
		'tests/search/adapters/test_examples.py::test_example[neps_search]'

# What NePS wants otherwise lies in front of everything else in .venv.
$(NEPS)/.installed: $(STAMP)
	test -x $(NEPS)/bin/python || $(BIN)/python -m venv --without-pip $(NEPS)
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> "$$($(NEPS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/archcast_venv.pth"
	$(NEPS)/bin/python -m pip install --quiet 'neural-pipeline-search==0.17.0' 'pandas<3' 'networkx<3'
	touch $@

lint: setup  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build/types && mkdir -p build/types/archcast  # the folders as the one package they become when installed
	@ln -s $(CURDIR)/archcast/* build/types/archcast/
	@for folder in $(FOLDERS); do ln -s $(CURDIR)/$$folder build/types/archcast/$$folder; done
	MYPYPATH=build/types $(BIN)/mypy -p archcast
	MYPYPATH=build/types $(BIN)/mypy benchmarks examples tests train.py

format: setup  ## rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## remake every published table (hours; see benchmarks/README.md)
	$(BIN)/python -m benchmarks.run_all

clean:  ## remove what the other targets make
	rm -rf $(VENV) $(NEPS) out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
