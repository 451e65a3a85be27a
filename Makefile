# Every target has a `##` line: `make help` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PORT ?= 8080
MLFLOW_PORT ?= 5000
DATASET ?= heart-disease
VERSION ?= 1
URL ?= http://127.0.0.1:$(PORT)
USERS ?= 32
DURATION ?= 30
# Twice as many as cores: many tests wait for what they have sent, or for a limit of time to pass. The fast ones do not,
# and each worker's imports take longer than they do.
WORKERS ?= $(shell $(PYTHON) -c "import os; print($(if $(FAST),1,2) * os.cpu_count())")
export PATH := $(abspath $(BIN)):$(abspath .tools):$(PATH)
# Where this is set, each process compiles the library anew, which takes longer than all else that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help wheel pictures setup run train serve mlflow test test-tools lint format compile images images-list kind-up kind-down kind-status platform rollback promote test-images verify lock fuzz load story backup restore keys drill benchmark-pipeline benchmark-serving benchmark-batch benchmark-fragments benchmark-explaining benchmark-hop benchmark-scale clean pin mirror push network-picture data-table

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 22

$(READY): components/locks/dev.txt pyproject.toml
	@PYTHON=$(PYTHON) components/locks/install $(VENV)
	@touch $@

setup: $(READY) ## install what everything here needs into .venv

run: $(READY) ## train on the shipped heart data, serve the winner, ask it for a prediction
	@python pipelines/first_run.py --port $(PORT)

train: $(READY) ## train on DATASET=heart-disease, or the path of a spec, and DATA=FILE
	@python pipelines/train_pipeline.py --dataset $(DATASET) $(if $(DATA),--data $(DATA))

serve: $(READY) ## serve the champion of DATASET: REST on PORT=8080, gRPC on PORT+1, explanations on PORT+6, outcomes on PORT+8
	@python kserve/serve.py --dataset $(DATASET) --port $(PORT)

promote: $(READY) ## carry VERSION=1 of DATASET on: FROM= and TO= are contexts, or folders of a HEALTHRISK_HOME
	@test -n "$(FROM)" -a -n "$(TO)" || { echo "error: make promote FROM=CONTEXT TO=CONTEXT"; exit 1; }
	@python -m healthrisk promote $(VERSION) --dataset $(DATASET) --from "$(FROM)" --to "$(TO)"

mlflow: $(READY) ## browse runs, metrics and versions on http://127.0.0.1:5000; MLFLOW_PORT= moves it
	@python pipelines/mlflow_ui.py --port $(MLFLOW_PORT)

test: lint ## check style and types, then run every test; FAST=1 without those that start runs, servers, browsers or MLflow, and long simulations
	@pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(if $(FAST),-m "not slow")
	@test -z "$(FAST)" || echo "FAST=1 left out what starts runs, servers, browsers or MLflow, and long simulations: make test runs them"

test-tools: .tools/load/.ready .tools/clients/.ready .tools/envoy/.ready .tools/model-signing/.ready .tools/onnxruntime/.ready ## install the servers that some tests start (Debian's packages, Go programs); without them those skip
	@tests/install-tools

lint: $(READY) ## check style, types, which room imports which, declared imports, and that nothing lies unused
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports --no-logo
	@deptry components pipelines
	@python tests/find_unused.py

format: $(READY) ## rewrite the code in the house's style
	@ruff check --fix .
	@ruff format .

compile: $(READY) ## write the pipeline's YAML anew
	@python pipelines/train_pipeline.py --compile

images: ## build healthrisk/pipeline and healthrisk/serving; PUSH=REGISTRY pushes them and writes their digests to images.env, BASE_IMAGE= replaces the public base
	@rm -f images.env
	@for target in $(or $(TARGETS),pipeline serving); do \
	  docker build $(DOCKER_BUILD) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
	    --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || true) \
	    --file components/Dockerfile --target $$target --tag healthrisk/$$target .; \
	  if [ -n "$(PUSH)" ]; then \
	    image=$$(REGISTRY=$(PUSH) kind/image-tag $$target); \
	    docker tag healthrisk/$$target $$image; \
	    docker push $$image; \
	    digest=$$(docker inspect --format '{{index .RepoDigests 0}}' $$image); \
	    echo "$${target^^}_IMAGE=$$image@$${digest#*@}" >>images.env; \
	  fi; \
	done

test-images: $(READY) ## run what `make images` has built as a cluster would; TARGETS=pipeline or serving alone
	@pytest tests/images $(if $(TARGETS),-k "$(TARGETS)")

verify: $(READY) ## prove the platform in KUBE_CONTEXT=: models deployed, replayed, watched and rolled back, faults borne
	@test -n "$(KUBE_CONTEXT)" || { echo "error: make verify KUBE_CONTEXT=NAME"; exit 1; }
	@pytest tests/e2e

images-list: ## print every image the platform needs; REGISTRY= points all of them at one registry
	@manifests/list-images

pin: ## write the pins of images and of upstream's manifests from kind/versions.env; REGISTRY= points all images there
	@manifests/pin

network-picture: $(READY) ## draw manifests/network.svg anew from the network policies
	@python manifests/draw.py

data-table: $(READY) ## write the table of manifests/data-protection.md anew from the manifests
	@python manifests/kept.py

mirror: ## gather in OUT=FOLDER all that MIRROR=FOLDER of kind-up and platform needs of the network
	@manifests/mirror $(OUT)
	@kind/save $(OUT)

push: ## push the images of MIRROR=FOLDER to REGISTRY=
	@manifests/push

kind-up: ## bring the platform up on kind; PROFILE=small for a laptop, REGISTRY= or MIRROR= for a closed network
	@kind/up

kind-down: ## remove the cluster and all that was in it
	@kind/down

kind-status: ## say what is healthy and how to reach it
	@kind/status

platform: ## install the platform into KUBE_CONTEXT= (OVERLAY=production); REGISTRY= and MIRROR= as in kind-up, IMAGES=images.env names ours by digest
	@$(if $(IMAGES),set -a; . "./$(IMAGES)"; )manifests/install

rollback: $(READY) ## put back the version of DATASET that was served before, in KUBE_CONTEXT=
	@python pipelines/rollback.py --dataset $(DATASET) $(if $(KUBE_CONTEXT),--context $(KUBE_CONTEXT))

backup: $(READY) ## back up HEALTHRISK_HOME to TO=FOLDER while it may be in use; KEEP=N removes all but the newest
	@test -n "$(TO)" || { echo "error: make backup TO=FOLDER"; exit 1; }
	@python -m healthrisk backup --to "$(TO)" $(if $(KEEP),--keep $(KEEP))

restore: $(READY) ## make HEALTHRISK_HOME, which is empty, of FROM=BACKUP, or of the newest in a folder of them
	@test -n "$(FROM)" || { echo "error: make restore FROM=BACKUP"; exit 1; }
	@python -m healthrisk restore "$(FROM)"

keys: ## print the keys of KUBE_CONTEXT= that its backups do not hold, as manifests: keep them where the site keeps keys
	@manifests/keys

drill: $(READY) ## lose a PostgreSQL, a MariaDB, an S3 server and a home, and have them answer again; refuse backups that are altered or cut
	@pytest --verbose --durations=0 tests/operations/test_cluster_backup.py tests/operations/test_pipelines_backup.py tests/operations/test_backup.py

pictures: $(READY) ## take the README's pictures of the newest report; then look at them
	@python tests/take_pictures.py .github/pictures

wheel: $(READY) ## build the package into dist/
	@rm -rf dist build
	@uv build --quiet --python $(BIN)/python --no-build-isolation

lock: $(READY) ## pin every dependency anew
	@components/locks/lock

benchmark-serving: $(READY) ## time the servers beside others on one core; SOAK=500000 follows their memory, too
	@python tests/benchmarks/serving.py $(if $(SOAK),--soak $(SOAK)) $(if $(JSON),--json $(JSON)) $(if $(PLOT),--plot $(PLOT))

benchmark-explaining: $(READY) ## time explanations beside the shap package's
	@python -m tests.benchmarks.explaining $(if $(JSON),--json $(JSON))

benchmark-hop: $(READY) ## time calls of the predictor beside those by httpcore and aiohttp
	@python -m tests.benchmarks.hop $(if $(JSON),--json $(JSON))

benchmark-scale: $(READY) ## time each step of a run over ROWS="1000 10000 100000 1000000" rows, beside bare scikit-learn
	@python -m tests.benchmarks.scale $(if $(ROWS),--rows $(ROWS)) $(if $(JSON),--json $(JSON)) $(if $(PLOT),--plot $(PLOT))

benchmark-fragments: $(READY) ## time batch prediction of fragments beside one file, and follow the memory of a run over 20,000,000 rows
	@python -m tests.benchmarks.fragments

benchmark-batch: $(READY) ## time batch prediction of 10,000,000 rows on one core
	@python tests/benchmarks/serving_batch.py

load: .tools/load/.ready ## load URL=http://HOST:PORT with USERS=32 for DURATION=30 seconds; an objective that is not met fails
	@.tools/load/bin/locust --locustfile tests/load/locustfile.py --headless --only-summary --loglevel WARNING \
	  --host $(URL) --users $(USERS) --spawn-rate $(USERS) --run-time $(DURATION) --stop-timeout 10

# A lock names all that is to be installed.
.tools/%/.ready: tests/%/requirements.txt
	@$(PYTHON) -m venv --clear .tools/$*
	@.tools/$*/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

fuzz: $(READY) ## attack the servers in their containers' memory with 50,000 hostile requests, and outcomes with 5,000; takes root
	@python -m tests.fuzz $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(HEAVY),--heavy $(HEAVY)) $(if $(SEED),--seed $(SEED))

story: $(READY) ## live through a model's life here, an alarm and a rollout in it, and draw it into OUT=FOLDER; takes make test-tools
	@python -m tests.story $(if $(OUT),--out "$(OUT)")

benchmark-pipeline: $(READY) ## time the pipeline against the same work in one process
	@python tests/benchmarks/pipeline.py

clean: ## remove the environment and everything that runs left behind
	rm -rf $(VENV) .tools .healthrisk .pytest_cache .mypy_cache .ruff_cache
