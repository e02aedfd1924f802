# Failing calls and kills; included by test/test.mk. What is built goes to $(OUT)/torture/.

TORTURE := $(OUT)/torture

# glibc's allocator, so that the shim's is in front of it.
$(TORTURE)/agent-proxy: $(TOP_SRC:%.c=$(OUT)/%.o) $(call libs_of,flow)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(filter-out -ljemalloc,$(LIBS))

# Checked variants of read() and the like are defined in it.
$(TORTURE)/shim.so: test/torture/shim.c | build/packages/build
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARNINGS) -fPIC -shared -pthread -o $@ $< -ldl

.PHONY: torture-tools
torture-tools: $(TORTURE)/agent-proxy $(TORTURE)/shim.so build/packages/test

.PHONY: torture
torture: torture-tools ## Fail each allocation and system call of a set of scenarios, one at a time
	$(Q)$(PYTHON) test/torture/run --build=$(OUT)

.PHONY: torture-smoke
torture-smoke: torture-tools ## The same with a sample of the calls, under 30 s
	$(Q)$(PYTHON) test/torture/run --build=$(OUT) --points=600

.PHONY: crash-oracle
crash-oracle: all bench-tools build/packages/test ## Kill proxy and gateway 1,200 times under load: nothing is lost
	$(Q)AGENT_PROXY=$(OUT)/agent-proxy BENCH_TOOLS=$(BENCH) BUILD=$(BUILD) \
	    CRASH_PROXY_KILLS=1000 CRASH_GATEWAY_KILLS=200 \
	    $(PYTHON) -m pytest -s test/system/test_crash.py
