# The query load generator and what runs it; included by bench.mk.

$(BENCH)/querygen: $(call bench_obj,querygen histogram args bytes http poller)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

bench-tools: $(BENCH)/querygen

.PHONY: bench-reads
bench-reads: all bench-tools ## Measure relayed reads beside nginx as a reverse proxy
	$(Q)$(PYTHON) -B bench/reads --build=$(OUT)
