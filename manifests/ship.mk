# Included by the Makefile: the program as files of a system, as a Debian package, as an image.

PREFIX  ?= /usr/local
BINDIR  := $(PREFIX)/bin
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSCONFDIR ?= $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)

.PHONY: install
install: all ## Install below DESTDIR and PREFIX (/usr/local): program, manual page, completion, unit
	install -D -s -m 755 $(OUT)/agent-proxy $(DESTDIR)$(BINDIR)/agent-proxy
	install -D -m 644 docs/agent-proxy.8 $(DESTDIR)$(PREFIX)/share/man/man8/agent-proxy.8
	install -D -m 644 manifests/agent-proxy.bash \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/agent-proxy
	install -D -m 644 manifests/systemd/agent-proxy.service $(DESTDIR)$(UNITDIR)/agent-proxy.service
	sed -i 's,@BINDIR@,$(BINDIR),; s,@SYSCONFDIR@,$(SYSCONFDIR),' $(DESTDIR)$(UNITDIR)/agent-proxy.service
	test -e $(DESTDIR)$(SYSCONFDIR)/default/agent-proxy || install -D -m 644 \
	    manifests/systemd/agent-proxy.default $(DESTDIR)$(SYSCONFDIR)/default/agent-proxy

.PHONY: uninstall
uninstall: ## Remove what install put there, but for the settings
	rm -f $(DESTDIR)$(BINDIR)/agent-proxy $(DESTDIR)$(PREFIX)/share/man/man8/agent-proxy.8 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/agent-proxy \
	    $(DESTDIR)$(UNITDIR)/agent-proxy.service

.PHONY: deb
deb: all build/packages/deb ## Build a Debian package: build/agent-proxy_VERSION_ARCH.deb
	manifests/debian/build '$(VERSION)' build

.PHONY: image
image: ## Build the image with docker, podman or buildah; IMAGE=name:tag
	manifests/image/build '$(or $(IMAGE),agent-proxy:$(VERSION))' '$(REVISION)'

.PHONY: image-test
image-test: build/packages/image build/packages/bare ## Build the image and use it, without a container engine (needs root)
	test/ship/image

.PHONY: deb-test
deb-test: deb build/packages/bare ## Install the package in a bare Debian 12 and use it (needs root)
	test/ship/deb 'build/agent-proxy_$(VERSION)_$(shell dpkg --print-architecture 2>/dev/null).deb'
