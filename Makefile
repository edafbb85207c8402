# The verbs of a day's work; CI calls the same ones. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := envs/requirements.lock.txt
CONFIG ?= config.yaml
CELL ?=
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Where it is set, every import of torch and transformers compiles again: 21 s instead of 7 s.
unexport PYTHONDONTWRITEBYTECODE
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help setup slurm demo test test-system test-long check digests schema clean-demo \
        plan where why diff redo gc verify accept recover publish receive needed status \
        adopt release hub

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make the environment in .venv

# uv installs in seconds; where it cannot, pip does the same from the same lock. The lock is complete
# and goes in without dependencies: deepfocus asks for `fasttext`, which only a compiler can install;
# fasttext-wheel is the same module.
$(VENV)/.ready: $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.8
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python -r $(LOCK) || $(BIN)/pip install --quiet --no-deps -r $(LOCK)
	@timeout 5 scontrol show config > /dev/null 2>&1; if [ $$? -ne 124 ]; then \
	  $(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python -r envs/requirements-slurm.txt \
	  || $(BIN)/pip install --quiet --no-deps -r envs/requirements-slurm.txt; \
	else echo "SLURM's controller does not answer: plugins left out (make slurm)"; fi
	@touch $@

slurm: setup ## add the SLURM executor (without a controller it slows every start by 10 s)
	$(BIN)/pip install --quiet --no-deps -r envs/requirements-slurm.txt

demo: setup ## the whole study on the atlas, offline, on this machine
	@$(BIN)/python -m scripts.watch --profile profiles/demo

test: setup ## lint, types, unit, workflow and smoke tests; no root, no daemons, no network
	@$(BIN)/python -m scripts.check
	@$(BIN)/python -m pytest -m "not system and not long and not gpu" --cov=langtransfer --cov-report=term-missing:skip-covered --cov-fail-under=90

test-system: setup ## kills, full disks, browser: needs Debian packages, skips by name without them
	@$(BIN)/python -m pytest -m system tests

test-long: setup ## run by hand before an issue is called done
	@$(BIN)/python -m pytest -m long tests

check: setup ## lint, format and types
	@$(BIN)/python -m scripts.check

digests: setup ## record that changed code leaves results as they are
	@$(BIN)/python -m scripts.digests

schema: setup ## write resources/schema/config.schema.json
	@$(BIN)/python -m scripts.schema

plan: setup ## what CONFIG will cost: hours, disk, dollars (MAX_GPU_HOURS=n: exit 2 above; ARGS=--cells)
	@$(BIN)/python -m scripts.plan --config $(CONFIG) $(if $(MAX_GPU_HOURS),--max-gpu-hours $(MAX_GPU_HOURS)) $(ARGS)

where: setup ## CELL=part-of-name: folders of the cells of CONFIG
	@$(BIN)/python -m scripts.cells --config $(CONFIG) where "$(CELL)"

why: setup ## CELL=part-of-name: what differs from the nearest finished key
	@$(BIN)/python -m scripts.cells --config $(CONFIG) why "$(CELL)"

diff: setup ## A=rev B=rev: recipes that differ, cells affected, metrics side by side
	@$(BIN)/python -m scripts.cells --config $(CONFIG) diff "$(A)" "$(B)"

redo: setup ## CELL=name: compute a finished cell again
	@$(BIN)/python -m scripts.cells --config $(CONFIG) redo "$(CELL)"

gc: setup ## list (YES=1: remove) results that no config, tag or pointer names
	@$(BIN)/python -m scripts.cells --config $(CONFIG) gc $(if $(YES),--yes)

verify: setup ## rehash everything; name what differs
	@$(BIN)/python -m scripts.cells --config $(CONFIG) verify

accept: setup ## CELL=name KEY=older REASON="...": an older result stands for the expected one
	@$(BIN)/python -m scripts.cells --config $(CONFIG) accept "$(CELL)" "$(KEY)" "$(REASON)"

recover: setup ## after a killed snakemake: wait for its jobs (CANCEL=1 ends them), unlock
	@$(BIN)/python -m scripts.recover --config $(CONFIG) $(if $(CANCEL),--cancel)

share = $(BIN)/python -m scripts.share --config $(CONFIG)
on = $(if $(REMOTE),--remote "$(REMOTE)")

publish: setup ## data to the DVC remote, manifests and pointers to git (AGAIN=cell: upload anew)
	@$(share) publish $(on) $(if $(AGAIN),--again "$(AGAIN)")

receive: setup ## published data, checked (CELLS="part-of-name ...", CELLS=needed: those alone)
	@$(share) receive $(on) $(if $(CELLS),--cells "$(CELLS)")

needed: setup ## what the next run computes and which absent data it reads, with sizes
	@$(share) needed

status: setup ## how many cells are finished, published, here
	@$(share) status

adopt: setup ## FROM=repository CELL=name [REV= KEY= REASON= OUTPUTS=]: another lab's result
	@$(share) adopt $(on) "$(FROM)" "$(CELL)" $(if $(REV),--revision "$(REV)") $(if $(KEY),--key "$(KEY)") \
	  $(if $(OUTPUTS),--outputs "$(OUTPUTS)") $(if $(REASON),--reason "$(REASON)")

release: setup ## CELL=name NAME=...: a checkpoint into the model registry of dvc.yaml
	@$(share) release "$(CELL)" "$(NAME)"

hub: setup ## CELL=name TO=folder LICENCE=spdx: a checkpoint with its model card, as a hub keeps it
	@$(share) hub "$(CELL)" "$(TO)" --licence "$(LICENCE)" $(if $(NAME),--name "$(NAME)")
