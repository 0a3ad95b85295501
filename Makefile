# Everything lives in this folder: Python packages in .venv, ComfyUI and models in .comfyui.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export PYTHONPATH := $(CURDIR)/tests:$(CURDIR)/scripts  # tests/support is the library of tests, demo and benchmarks
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# These three work together; ComfyUI asks for any version.
TORCH := torch==2.11.0 torchvision==0.26.0 torchaudio==2.11.0

.PHONY: setup demo serve test test-extras test-faults test-beside test-cluster test-layout browser lint parity pictures packs bench gpu gpu-bundle supply-chain fuzz soak clean

setup: $(READY)
	$(BIN)/python -m support.synthetic_models

ifneq ($(wildcard bundle/wheels),)
$(READY):  # of a `make gpu-bundle`, on a machine without a network
	bash benchmarks/gpu_bundle/unpack.sh $(PYTHON)
else
$(READY): pyproject.toml tests/support/comfyui_release.py
	$(PYTHON) -m venv .venv
# Each command that the docs name finds tests/support, also without make.
	printf "%s\n" "$(CURDIR)/tests" "$(CURDIR)/scripts" > $$(echo .venv/lib/python3*/site-packages)/development.pth
	$(BIN)/pip install --quiet uv
	host=$$($(BIN)/python -m support.comfyui_release) && \
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(TORCH) -r "$$host/requirements.txt" \
		-r "$$host/manager_requirements.txt" -e ".[dev]"
	touch $@
endif

demo: $(READY)  ## dress somebody in the sample garment, and look: artefacts/demo.png
	$(BIN)/python -m demo

serve: setup  ## the editor, in the browser
	$(BIN)/python -m support.comfyui_server

test: setup  ## the nodes: core; ComfyUI in process; ComfyUI over HTTP. Apart, so that each frees its memory
	$(BIN)/pytest tests/core
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not full_size" tests/comfyui --ignore tests/comfyui/test_faults.py
	$(BIN)/pytest -m full_size tests/comfyui --ignore tests/comfyui/test_faults.py
	$(BIN)/pytest tests/server --ignore tests/server/test_faults.py

browser:  ## Chromium for the editor's tests, where there is neither it nor Chrome; on Debian and Ubuntu
	@for name in $$CHROMIUM chromium chromium-browser google-chrome google-chrome-stable; do \
		command -v $$name && exit; done; \
	$(SUDO) apt-get update -qq && $(SUDO) apt-get install -qq --yes chromium > /dev/null

test-extras: test-faults test-beside  ## all around them

test-faults: setup  ## hostile files, what fails half-way, a short soak
	$(BIN)/pytest tests/hostile
	$(BIN)/pytest tests/comfyui/test_faults.py
	$(BIN)/pytest tests/server/test_faults.py
	$(BIN)/python benchmarks/soak.py --prompts 30 --different 10 --limit 100

test-beside: setup  ## evaluation, training, installing, the editor in a browser
	$(BIN)/pytest tests/metrics
	$(BIN)/pytest tests/drawn
	$(BIN)/pytest tests/training
	$(BIN)/pytest tests/catalogue --ignore tests/catalogue/test_cluster.py --ignore tests/catalogue/test_ray_train.py
	$(BIN)/pytest tests/install
	$(BIN)/pytest tests/browser --ignore tests/browser/test_template_layout.py

test-layout: setup  ## each template drawn by both editors in both ways: legible, nothing on anything else
	$(BIN)/pytest tests/browser/test_template_layout.py

test-cluster: setup  ## a catalogue and a training on two of Ray's machines, both of them this one
	$(BIN)/pytest tests/catalogue/test_cluster.py tests/catalogue/test_ray_train.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos
	$(BIN)/pyright

parity: setup  ## the README's table of errors against the official implementation
	$(BIN)/python -m support.parity

pictures: demo  ## those of the README, the templates and the help pages, from real runs on the small models
	cp artefacts/demo.png docs/images/demo.png
	$(BIN)/python -m demo.thumbnails
	$(BIN)/python -m demo.help_pages
	$(BIN)/python scripts/screenshots.py

PACKS ?= custom_nodes
packs: setup  ## the garment beside other people's packs: make packs PACKS=/path/to/custom_nodes
	$(BIN)/python scripts/real_packs.py $(PACKS)

bench: setup  ## speed and memory, part by part; see benchmarks/bench.py --help
	$(BIN)/python benchmarks/bench.py

gpu: setup  ## prove and measure on a GPU, eight minutes; REHEARSE=1 runs it tiny on a CPU, PARTS="parity http" some of it
	$(BIN)/python benchmarks/on_gpu.py $(if $(REHEARSE),--rehearse) $(PARTS)

gpu-bundle: $(READY)  ## a folder for a GPU machine without a network, where PyTorch is: there `make gpu`
	bash benchmarks/gpu_bundle/make.sh $(GPU_PYTHON)

# What the pack and its extras bring. NVIDIA's libraries come with ComfyUI's own PyTorch; insightface is MIT by its repository.
BROUGHT := .venv/brought.txt
EXTRAS := --extra cluster --extra download --extra evaluation --extra training --extra training-deepspeed --extra training-lora
PERMISSIVE := MIT;BSD;Apache;ISC;PSF;Python Software;MPL;Mozilla;CC0;HPND;CNRI;Zlib
supply-chain: $(READY)  ## licences and known vulnerabilities of what the pack brings along
	$(BIN)/uv pip compile --quiet --no-annotate --no-header --python $(BIN)/python $(EXTRAS) pyproject.toml | \
		grep -vE '^(nvidia|cuda|insightface)' > $(BROUGHT)
	$(BIN)/pip-licenses --with-system --partial-match --allow-only "$(PERMISSIVE)" \
		--packages $$(sed 's/==.*//' $(BROUGHT)) > /dev/null
	$(BIN)/pip-audit --no-deps --disable-pip --requirement $(BROUGHT) > $(BROUGHT).audit || { cat $(BROUGHT).audit; exit 1; }
	@! grep 'could not be audited' $(BROUGHT).audit || \
		echo "NOT CHECKED for vulnerabilities: the packages above. No vulnerability database could be reached."

SECONDS ?= 60
fuzz: setup  ## hostile input for each reader, twice SECONDS: make fuzz SECONDS=600, or RUNS=10000
	$(BIN)/python fuzz/run.py $(if $(RUNS),--runs $(RUNS),--seconds $(SECONDS)) $(if $(RECORD),--record)

soak: setup  ## prompts in one running ComfyUI for SECONDS: make soak SECONDS=600, or PROMPTS=540
	$(BIN)/python benchmarks/soak.py $(if $(PROMPTS),--prompts $(PROMPTS),--seconds $(SECONDS)) $(if $(RECORD),--record)

clean:
	rm -rf .venv .comfyui artefacts
