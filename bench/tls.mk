# What runs the measurement of TLS; included by bench.mk.

.PHONY: bench-tls
bench-tls: all bench-tools ## Measure what TLS costs the proxy on either side
	$(Q)$(PYTHON) -B bench/tls --build=$(OUT)
