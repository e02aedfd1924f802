# Included by the Makefile: what installs packages, and the targets that test, check and show.

# A stamp for each group of packages; the script is silent and quick when nothing is missing.
PACKAGES := build/packages
$(PACKAGES)/%: test/tools/install-packages
	@test/tools/install-packages $*
	@mkdir -p $(@D)
	@touch $@

# Nothing is compiled before its packages are there.
COMPILERS := $(PACKAGES)/build $(if $(findstring clang,$(CC)),$(PACKAGES)/clang)
$(PB_C) $(SRC:%.c=$(OUT)/%.o): | $(COMPILERS)
$(UNIT) $(UNIT:$(OUT)/unit/%=$(OUT)/test/unit/%.o): | $(COMPILERS) $(PACKAGES)/unit

RUN_TESTS = @+$(PYTHON) test/tools/run-tests --make '$(MAKE) CC=$(CC)' --variant $(BUILD) --out $(OUT) \
    $(if $(LOW_PRIORITY),--low-priority)

.PHONY: test
test: $(addprefix $(PACKAGES)/,build unit test lint demo bench clang) ## Run all tests; TESTS="unit lint" chooses parts
	$(RUN_TESTS) $(TESTS)

.PHONY: unit-programs
unit-programs: $(UNIT)

.PHONY: system
system: all $(PACKAGES)/test ## Run the system tests; PYTEST="-k name" chooses
	AGENT_PROXY=$(OUT)/agent-proxy $(PYTHON) -m pytest test/system $(PYTEST)

.PHONY: fuzz-smoke
fuzz-smoke: $(PACKAGES)/build $(PACKAGES)/clang ## Run the fuzz targets over their corpus, then for 5 s each
	@test/fuzz/run smoke

.PHONY: fuzz
fuzz: $(PACKAGES)/build $(PACKAGES)/clang ## Search with each fuzz target for FUZZ_SECONDS=600, or FUZZ_RUNS times; TARGETS="write head" chooses
	@test/fuzz/run $(if $(FUZZ_RUNS),count $(FUZZ_RUNS),long $(or $(FUZZ_SECONDS),600))

.PHONY: lint
lint: all $(PB_C) $(PACKAGES)/lint ## Check layers, docs, format, static analysis; CHECKS="layers links" chooses
	$(PYTHON) test/lint/run --program $(OUT)/agent-proxy $(CHECKS) -- \
	    -std=c11 $(CPPFLAGS) -I. -DAGENT_PROXY_VERSION='""' -DAGENT_PROXY_REVISION='""'

.PHONY: format
format: $(PACKAGES)/lint ## Lay out the C files by .clang-format
	git ls-files 'proxy/*.[ch]' 'bench/*.[ch]' 'test/*.[ch]' | xargs clang-format -i

.PHONY: docs
docs: all ## Write docs/flags.md and docs/metrics.md from the program
	$(PYTHON) test/tools/generate-docs $(OUT)/agent-proxy

.PHONY: demo
demo: all $(PACKAGES)/demo ## Show the main job on real parts; DEMO_SECONDS=20 ends by itself
	@AGENT_PROXY=$(OUT)/agent-proxy $(PYTHON) test/demo/run

.PHONY: walk
walk: $(PACKAGES)/demo ## Go through the README as a newcomer, in a fresh clone, with an outage
	@$(PYTHON) test/demo/walk
