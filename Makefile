# agent-proxy. `make help` lists the targets.
#
# BUILD chooses a variant, each with its own folder below build/:
#   release (default), asan (ASan+UBSan), tsan, debug

# V=1 shows the commands.
MAKEFLAGS += --no-builtin-rules
ifndef V
Q := @
say = @printf '  %-5s %s\n' $(1) $(2)
endif
.SUFFIXES:
.DELETE_ON_ERROR:

BUILD    ?= release
CC       ?= gcc
ifeq ($(origin CC),default)
CC       := gcc
endif
OUT      := build/$(BUILD)
GEN      := build/gen
VERSION  := $(shell sed -n 's/^\#\# \([0-9][^ ]*\).*/\1/p;T;q' CHANGELOG.md 2>/dev/null)
REVISION := $(shell git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)
PYTHON   ?= /usr/bin/python3

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wcast-qual -Wformat=2 -Wundef -Wvla -Wswitch-enum \
            -Wnull-dereference -Werror
CPPFLAGS += -D_GNU_SOURCE -Iproxy -I$(GEN)
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fno-semantic-interposition
CFLAGS_debug   := -O0 -g3
CFLAGS_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
                  -fno-sanitize-recover=all
CFLAGS_tsan    := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
CFLAGS   += -std=c11 $(WARNINGS) -fPIE -pthread $(CFLAGS_$(BUILD))
LDFLAGS  += -pie -pthread -Wl,-z,relro,-z,now
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread
LDFLAGS  += $(LDFLAGS_$(BUILD))

LIBS_config   := -lyaml -lgnutls
LIBS_io       := -lcrypt
LIBS_server   := -lmicrohttpd -lgnutls
LIBS_upstream := -lcurl
LIBS          := $(LIBS_config) $(LIBS_io) $(LIBS_server) $(LIBS_upstream)
ifneq (,$(filter release debug,$(BUILD)))
LIBS          += -ljemalloc
endif

# The layers, lowest first. A layer's files include only their own and lower ones; a unit test is
# linked with just these, so the linker holds the rule as well.
LAYERS := base config wire io server upstream flow
lib     = $(OUT)/lib$(1).a
below_base     := base
below_config   := config base
below_wire     := wire base
below_io       := io base
below_server   := server io wire base
below_upstream := upstream io wire base
below_flow     := flow upstream server io wire config base
libs_of       = $(foreach l,$(below_$(1)),$(call lib,$(l)))

TOP_SRC := $(wildcard proxy/*.c)
SRC     := $(TOP_SRC) $(foreach l,$(LAYERS),$(wildcard proxy/$(l)/*.c))
PROTO   := $(wildcard proto/*.proto)
PB_C    := $(PROTO:proto/%.proto=$(GEN)/%.pb-c.c)
UNIT    := $(foreach l,$(LAYERS),$(patsubst test/unit/%.c,$(OUT)/unit/%,$(wildcard test/unit/$(l)/test_*.c)))

.PHONY: all build
all: $(OUT)/agent-proxy ## Build the program: build/release/agent-proxy
build: all # not the folder of that name, of which make would say that nothing is to be done

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(OUT)/agent-proxy: $(TOP_SRC:%.c=$(OUT)/%.o) $(call libs_of,flow)
	$(call say,LD,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

define layer_rules
$(call lib,$(1)): $(patsubst %.c,$(OUT)/%.o,$(wildcard proxy/$(1)/*.c))
	@rm -f $$@
	$(Q)$(AR) rcs $$@ $$^

$(OUT)/unit/$(1)/%: $(OUT)/test/unit/$(1)/%.o $(OUT)/pb-c.a $(call libs_of,$(1))
	@mkdir -p $$(@D)
	$$(call say,LD,$$@)
	$(Q)$(CC) $(LDFLAGS) -o $$@ $$^ -lcmocka -lprotobuf-c -lsnappy $(LIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$(l))))

# What libsnappy and protobuf-c do is the tests' measure of what wire/ does.
$(patsubst %.c,$(OUT)/%.o,$(wildcard test/unit/wire/*.c)): $(PB_C)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Where a loop falls by chance has cost a decoder up to a fifth: bench/README.md.
$(OUT)/proxy/wire/%.o: CFLAGS += -falign-functions=64 -falign-loops=64

# Version and revision reach one file only, so a commit does not rebuild the world.
$(OUT)/proxy/main.o: CPPFLAGS += -DAGENT_PROXY_VERSION='"$(VERSION)"' -DAGENT_PROXY_REVISION='"$(REVISION)"'

# The status page is written as HTML and built in as bytes.
$(GEN)/status_page.c: proxy/flow/status_page.html
	@mkdir -p $(GEN)
	$(call say,GEN,$@)
	$(Q){ echo '#include "flow/status_page.h"'; echo 'const unsigned char status_page[] = {'; \
	    od -An -v -tu1 $< | sed 's/[0-9][0-9]*/&,/g'; \
	    echo '};'; echo 'const size_t status_page_bytes = sizeof(status_page);'; } >$@

$(call lib,flow): $(OUT)/gen/status_page.o

# Generated code is not held to our warnings.
$(GEN)/%.pb-c.c: proto/%.proto
	@mkdir -p $(GEN)
	$(call say,GEN,$@)
	$(Q)protoc-c --proto_path=proto --c_out=$(GEN) $<

$(OUT)/gen/%.o: $(GEN)/%.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(filter-out $(WARNINGS),$(CFLAGS)) -MMD -MP -c -o $@ $<

.SECONDARY: $(PB_C)
# One message's header includes the other's.
$(PB_C:$(GEN)/%.c=$(OUT)/gen/%.o): | $(PB_C)
$(OUT)/pb-c.a: $(PB_C:$(GEN)/%.c=$(OUT)/gen/%.o)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

.PHONY: unit
unit: $(UNIT) ## Run the unit tests
	@status=0; for t in $(UNIT); do $$t || status=1; done; exit $$status

.PHONY: clean
clean: ## Remove build/
	rm -rf build

include manifests/ship.mk
-include bench/bench.mk
-include test/torture/torture.mk
-include test/test.mk

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
