# `make install`, and the packages, which are made of what it installs.
SATELLITES := ecs-endpoint ecs-logd ecs-host
INSTALL ?= install
SHARE   := $(DESTDIR)$(PREFIX)/share
LIB     := $(DESTDIR)$(PREFIX)/lib

install: build manual ## install into DESTDIR/PREFIX
	$(INSTALL) -D -m 0755 $(B)/ecsd $(DESTDIR)$(PREFIX)/sbin/ecsd
	for program in $(SATELLITES); do $(INSTALL) -D -m 0755 $(B)/$$program $(DESTDIR)$(LIBEXECDIR)/$$program || exit; done
	$(INSTALL) -D -m 0755 dist/amazon-ecs-init $(DESTDIR)$(PREFIX)/libexec/amazon-ecs-init
	$(INSTALL) -D -m 0755 dist/maintain $(LIB)/ecsd/maintain
	$(INSTALL) -D -m 0644 dist/ecs.defaults $(LIB)/ecsd/ecs.defaults
	for file in $(patsubst dist/%,%,$(wildcard dist/sysusers.d/* dist/tmpfiles.d/*)); do \
		$(INSTALL) -D -m 0644 dist/$$file $(LIB)/$$file || exit; done
	for unit in $(notdir $(wildcard dist/systemd/*)); do \
		$(INSTALL) -D -m 0644 dist/systemd/$$unit $(DESTDIR)$(UNITDIR)/$$unit || exit; done
# The official agent's name, as the package's own link and not as Alias=: `systemctl enable ecs` works more than once.
	install -d $(DESTDIR)$(UNITDIR)
	ln -sf ecsd.service $(DESTDIR)$(UNITDIR)/ecs.service
	for profile in ecs-endpoint ecs-logd; do \
		$(INSTALL) -D -m 0644 dist/apparmor/usr.libexec.ecsd.$$profile \
			$(SHARE)/apparmor/extra-profiles/usr.libexec.ecsd.$$profile || exit; done
	for page in $(notdir $(wildcard dist/man/*.8)); do $(INSTALL) -D -m 0644 dist/man/$$page $(SHARE)/man/man8/$$page || exit; done
	$(INSTALL) -D -m 0644 $(B)/ecs.config.5 $(SHARE)/man/man5/ecs.config.5
	$(INSTALL) -D -m 0644 dist/completion/ecsd $(SHARE)/bash-completion/completions/ecsd
	for file in README.md LICENSE docs/*.md; do \
		$(INSTALL) -D -m 0644 $$file $(SHARE)/doc/ecsd/$$(basename $$file) || exit; done

deb: ## build/packages/ecsd_*.deb, checked by lintian (Debian)
	@sh dist/deps.sh
	@sh dist/deb.sh

rpm: ## build/packages/ecsd-*.rpm for Amazon Linux 2023 and Fedora, made with Debian's rpm
	@sh dist/deps.sh
	@sh dist/rpm.sh

test-package: deb rpm ## the packages in a fresh Debian 12: installed, upgraded, removed, purged, built twice
	@sh tests/package/run.sh

.PHONY: manual install deb rpm test-package
