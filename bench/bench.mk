# The tools and targets of bench/; included by the Makefile. They go to $(OUT)/bench/.

BENCH     := $(OUT)/bench
bench_obj  = $(patsubst %,$(BENCH)/%.o,$(1))
BENCH_BASE := args bytes http poller samples

$(BENCH)/%.o: CPPFLAGS += -I.

$(BENCH)/loadgen: $(call bench_obj,loadgen load bodies body_template kubernetes histogram $(BENCH_BASE))
$(BENCH)/sink: $(call bench_obj,sink gateway post store $(BENCH_BASE))
$(BENCH)/floor: $(call bench_obj,floor args bytes http poller) $(call libs_of,wire)
$(BENCH)/loadgen $(BENCH)/sink $(BENCH)/floor:
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lsnappy

.PHONY: bench-tools
bench-tools: $(BENCH)/loadgen $(BENCH)/sink $(BENCH)/floor ## Build the load generator, the sink and the floor

.PHONY: bench-smoke
bench-smoke: bench-tools ## Check the tools of bench/ against each other, under a minute
	$(Q)$(PYTHON) bench/smoke.py $(OUT)

.PHONY: bench
bench: all bench-tools ## Measure the proxy beside its peers (bench/install-peers gets them)
	$(Q)$(PYTHON) bench/compare --build=$(OUT)
