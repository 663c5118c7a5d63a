# Everything runs in .venv, installed from hash-locked requirements. Needs Python 3.11 or newer and make;
# the network only the first time, and when a lock changes.

PYTHON ?= python3
PORT ?= 8000
SAMPLE = .imagesets/sample.db
PORTAL = graphql_service/web/portal

.PHONY: run test client-tests browser-tests bench bench-peers portal lint schema sample lock clean

run: .venv/run.stamp
	.venv/bin/imagesets serve --store "sqlite:///$(SAMPLE)" --sample --port "$(PORT)"

test: lint
	.venv/bin/imagesets schema | diff -u schema.graphql -
	.venv/bin/pytest --ignore tests/browser

# AWS's own clients (CLI, boto3, the SDK for JavaScript) against a running service. `make test` runs the first two of them;
# the third needs node and npm.
client-tests: .venv/test.stamp
	npm ci --prefix tests/clients --no-audit --no-fund
	.venv/bin/pytest tests/clients

# The pages in Debian's chromium, and whether what is committed is what their sources build. Needs node and npm; chromium
# is installed where it is missing, which needs root.
browser-tests: portal-check
	command -v chromium || { apt-get update && apt-get install --yes --no-install-recommends chromium fonts-dejavu-core; }
	npm ci --prefix tests/browser --no-audit --no-fund
	.venv/bin/pytest tests/browser

# Whether what browsers are served is what its sources build. Needs node and npm.
portal-check: .venv/test.stamp
	npm ci --prefix $(PORTAL) --no-audit --no-fund
	npm run --prefix $(PORTAL) --silent check
	.venv/bin/pytest tests/browser/test_build.py

# What browsers are served, from its sources. Needs node and npm.
portal:
	npm ci --prefix $(PORTAL) --no-audit --no-fund
	npm run --prefix $(PORTAL) --silent check
	npm run --prefix $(PORTAL) --silent build

# What a request costs beside a bare route, on this machine, in some minutes; BENCH="FILE.ndjson --plot bench.png" and the
# other options are those of the benchmark. After `make bench-peers` it asks PostGraphile and plain Strawberry too.
bench: .venv/test.stamp
	.venv/bin/python -m tests.benchmarks.service_benchmark --json bench.json $(BENCH)

# PostGraphile and a node that it runs with. Needs npm here and, for `make bench`, a PostgreSQL with initdb, on Linux.
bench-peers:
	npm ci --prefix tests/benchmarks/peers --no-audit --no-fund --loglevel=error

lint: .venv/test.stamp
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

# What the code prints, into the file that `make test` compares it with.
schema: .venv/run.stamp
	.venv/bin/imagesets schema > schema.graphql

# The bundled sample, from its script.
sample: .venv/run.stamp
	.venv/bin/python -m graphql_service.sample.make_sample

# The locks, from pyproject.toml, with uv (on the path); LOCK_OPTIONS=--upgrade takes the newest versions.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	$(LOCK_OPTIONS) --group build pyproject.toml
lock:
	$(LOCK) --output-file requirements.txt
	$(LOCK) --extra otel --extra test --constraint requirements.txt --output-file requirements-test.txt

clean:
	rm -rf .venv .imagesets .hypothesis .mypy_cache .pytest_cache .ruff_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

# A stamp is newer than its lock once that lock is installed: an unchanged one installs nothing and asks no network.
.venv/run.stamp: requirements.txt pyproject.toml | .venv/bin/python
.venv/test.stamp: requirements-test.txt pyproject.toml | .venv/bin/python
.venv/%.stamp:
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
