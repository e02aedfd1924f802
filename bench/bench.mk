# The tools and targets of bench/; included by the Makefile. They go to $(OUT)/bench/.

BENCH     := $(OUT)/bench
bench_obj  = $(patsubst %,$(BENCH)/%.o,$(1))
BENCH_BASE := args bytes http poller samples

$(BENCH)/%.o: CPPFLAGS += -I.

$(BENCH)/loadgen: $(call bench_obj,loadgen load bodies body_template kubernetes histogram $(BENCH_BASE))
	$(CC) $(LDFLAGS) -o $@ $^ -lsnappy

$(BENCH)/sink: $(call bench_obj,sink gateway post store $(BENCH_BASE))
	$(CC) $(LDFLAGS) -o $@ $^ -lsnappy

.PHONY: bench-tools
bench-tools: $(BENCH)/loadgen $(BENCH)/sink ## Build the load generator, the sink and the floor
