# The tools and targets of bench/; included by the Makefile. They go to $(OUT)/bench/.

BENCH     := $(OUT)/bench
bench_obj  = $(patsubst %,$(BENCH)/%.o,$(1))
BENCH_BASE := args bytes http poller samples

$(BENCH)/%.o: CPPFLAGS += -I.

$(BENCH)/loadgen: $(call bench_obj,loadgen load tally bodies body_template kubernetes histogram $(BENCH_BASE))
$(BENCH)/sink: $(call bench_obj,sink gateway post store $(BENCH_BASE))
$(BENCH)/floor: $(call bench_obj,floor args bytes http poller) $(call libs_of,wire)
$(BENCH)/wire: $(call bench_obj,wire bodies body_template kubernetes args bytes samples) $(call libs_of,wire)
$(BENCH)/loadgen $(BENCH)/sink $(BENCH)/floor $(BENCH)/wire:
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lsnappy

.PHONY: bench-tools
bench-tools: $(BENCH)/loadgen $(BENCH)/sink $(BENCH)/floor $(BENCH)/wire ## Build the load generator, the sink, the floor and wire

.PHONY: bench-smoke
bench-smoke: all bench-tools ## Check the tools of bench/ against each other, under a minute
	$(Q)$(PYTHON) bench/smoke.py $(OUT)

# Knobs of `make bench`, in the environment or behind it: SECONDS and REPEATS of each run,
# SCENARIOS="2000x8 latency" and PEERS="nginx floor agent-proxy", lists of names.
BENCH_KNOBS = $(foreach k,SECONDS REPEATS SCENARIOS PEERS,$(if $($k),$k="$($k)"))
lower       = $(subst SECONDS,seconds,$(subst REPEATS,repeats,$(subst SCENARIOS,scenarios,$(subst PEERS,peers,$(1)))))

.PHONY: bench-peers
bench-peers: build/packages/peers ## Install the programs that are compared, from Debian, started by nobody

.PHONY: bench
bench: all bench-tools bench-peers ## Measure the proxy beside its peers; SECONDS, REPEATS, SCENARIOS, PEERS
	$(Q)$(PYTHON) bench/compare --build=$(OUT) --command='$(strip make bench $(BENCH_KNOBS))' \
	    $(foreach k,SECONDS REPEATS SCENARIOS PEERS,$(if $($k),--$(call lower,$k)="$($k)"))

.PHONY: bench-check
bench-check: ## Judge the latest results of `make bench` by the targets
	$(Q)$(PYTHON) bench/compare --check

.PHONY: bench-verify
bench-verify: all bench-tools ## Check each of SAMPLES=100000000 samples that went through the proxy
	$(Q)$(PYTHON) bench/verify --build=$(OUT) $(if $(SAMPLES),--samples=$(SAMPLES))

include bench/reads.mk
include bench/tls.mk

.PHONY: bench-profile
bench-profile: all bench-tools ## Show where the proxy's CPU goes, by callgrind and perf
	$(Q)$(PYTHON) -B bench/profile --build=$(OUT)
