# Everything from nothing but Python 3.11 and make:
#
#   make demo       install; fetch a pretrained model and real reviews; train; report (some minutes on 2 cores)
#   make test       install; run the tests, but for the slow ones (some minutes on 2 cores)
#   make test-slow  the slow ones alone
#   make verify     repeat the first run that the READMEs show and a part of one benchmark, and hold their figures
#   make check      lint, types, layers, docstrings, generated documents
#   make clean      remove .venv and what the demo and verify wrote
#
# Every package comes from the index of your pip configuration, in the versions of constraints.txt. torch is installed
# first and by itself. Training here needs its CPU build, which is far smaller than the CUDA one: where your
# index gives the CUDA build, name torch's own index of CPU builds (its installation page has the address), as in
#
#   PIP_EXTRA_INDEX_URL=<address> make demo        # or PIP_FIND_LINKS=<directory with the wheel>
#
# The pin has no build suffix, so either build satisfies it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
TORCH := $(shell grep '^torch==' constraints.txt)
DEMO_ROWS ?= 4000
# Another number of rows is another run: it neither goes on with an interrupted demo nor replaces a finished one.
DEMO := runs/demo$(if $(filter-out 4000,$(DEMO_ROWS)),-$(DEMO_ROWS))
DEMO_DATA := runs/reviews-zh-$(DEMO_ROWS).csv
# Two processes, each with whole files of tests, which share what is costly to make. A thread for each: four threads that
# wait for one another by spinning take several times as long on two cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-slow verify check clean

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	$(PIP) --constraint constraints.txt --editable '.[all,benchmarks,dev]'
	@$(BIN)/python -c 'import torch; torch.version.cuda and print("note: this is the CUDA build of torch, gigabytes larger than needed; the top of Makefile says how to get the CPU build")'
	@touch $@

$(DEMO_DATA): | $(INSTALLED)
	$(BIN)/python scripts/demo_rows reviews-zh $(DEMO_ROWS) $@

# A finished demo is made again; an interrupted one goes on.
demo: $(INSTALLED) $(DEMO_DATA)
	$(BIN)/penjing run $(DEMO_DATA) --model e5-small-multilingual --epochs 3 --out $(DEMO) $(if $(wildcard $(DEMO)/manifest.json),--overwrite)
	$(BIN)/penjing predict $(DEMO) --input '包装很好，第二天就到了，会再买。' '用了三天就坏了，客服也不理人。'

test: $(INSTALLED)
	$(PYTEST) -m 'not slow'

test-slow: $(INSTALLED)
	$(PYTEST) -m slow

verify: $(INSTALLED)
	$(BIN)/python scripts/verify_readme.py
	$(BIN)/python scripts/verify_benchmark.py

check: $(INSTALLED)
	$(BIN)/python scripts/check

clean:
	rm -rf $(VENV) runs/demo runs/demo-* runs/demo.* runs/reviews-zh-*.csv runs/verify-readme runs/verify-benchmark
