# make run | test | lint | bench: each sets up what it needs in .venv.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
ARGS ?=

.PHONY: run test lint format bench screenshots browser clean

run: .venv/run.stamp
	$(BIN)/python app.py $(ARGS)

test: .venv/dev.stamp browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pictures in docs/screenshots, taken on the new user's walk through the page.
screenshots: .venv/dev.stamp browser
	NEWBIE_UI_SHOTS=docs/screenshots $(BIN)/python -m pytest tests/ui/test_walk.py

bench: .venv/run.stamp
	$(BIN)/python -m newbie_ui.bench $(ARGS)

# The walk through the page needs a Chromium: the system's, Debian's package, or Playwright's own download.
browser: .venv/dev.stamp
	@command -v chromium chromium-browser google-chrome >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	     && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk >/dev/null; } \
	|| $(BIN)/playwright install chromium

.venv/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "newbie_ui needs Python 3.10, 3.11 or 3.12; none was found. Install one, or: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

.venv/dev.stamp: requirements.txt requirements-dev.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements-dev.txt
	@touch .venv/run.stamp $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache
