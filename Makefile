# ecsd: `make help` lists the targets.

VERSION    := 0.1.0
# A source package has no repository: .commit is in it instead.
GIT_HASH   := $(shell cat .commit 2>/dev/null || git rev-parse --short=8 HEAD 2>/dev/null || echo 00000000)
PREFIX     ?= /usr
LIBEXECDIR ?= $(PREFIX)/libexec/ecsd
UNITDIR    ?= $(PREFIX)/lib/systemd/system
DESTDIR    ?=

CC         ?= gcc
ifeq ($(origin CC),default)
CC         := gcc
endif
B          ?= build
V          ?= 0
Q          := $(if $(filter 0,$(V)),@,)

# `make deps` begins without it.
PKG_CONFIG := $(shell command -v pkg-config || echo :)
# Its name changed with version 6.
MSGPACK    := $(shell $(PKG_CONFIG) --exists msgpack-c && echo msgpack-c || echo msgpack)
PKGS       := libcurl libcrypto libssl json-c libevent_core libevent_extra sqlite3 libseccomp libcap libsystemd zlib libxxhash libpcre2-8 $(MSGPACK)
WARN       := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wno-sign-conversion \
              -Wformat=2 -Wno-format-nonliteral -Wpointer-arith -Wundef -Wvla -Werror
HARDEN     := -fPIE -fstack-protector-strong -fstack-clash-protection $(if $(filter x86_64-%,$(shell $(CC) -dumpmachine 2>/dev/null)),-fcf-protection)
FORTIFY    := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
OPT        ?= -O2 -g
SAN        ?=
CPPFLAGS   += -D_GNU_SOURCE -DECSD_VERSION='"$(VERSION)"' -I. -Iagent
CFLAGS     += -std=gnu17 $(OPT) $(WARN) $(HARDEN) $(SAN)
LDFLAGS    += -pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed $(SAN)
ifeq ($(SAN),)
CPPFLAGS   += $(FORTIFY)
endif
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS))
PKG_LIBS    = $(shell $(PKG_CONFIG) --libs $(PKGS)) -lwslay -lm

COMMON     := $(wildcard common/*.c common/aws/*.c)
ENDPOINT   := $(wildcard agent/endpoint/server/*.c)
LOGGING    := $(wildcard logging/*.c)
HOST       := $(wildcard agent/host/*.c)
AGENT_LIB  := $(filter-out agent/main.c,$(wildcard agent/*.c)) \
              $(foreach d,config aws control docker engine endpoint logd takeover,$(wildcard agent/$(d)/*.c)) $(wildcard cgroups/*.c)

obj        = $(patsubst %.c,$(B)/%.o,$(1))
UNIT       := $(wildcard tests/unit/test_*.c)
UNIT_BIN   := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(UNIT))
MODEL      := $(wildcard tests/model/*.c)
# What the model puts its own functions before (tests/model/hooks.c): calls between files only.
MODEL_WRAP := wall_ms random_unit random_hex bind socket sqlite3_open_v2 posix_fallocate store_begin store_commit \
              store_put_task store_put_container store_delete_task store_put_transition reconcile dependency_check \
              dependency_may_stop schedule schedule_host schedule_port engine_operate engine_observe \
              engine_observe_missing engine_record_container engine_record_task container_set_error
FUZZ       := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_BIN   := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(FUZZ))
# Whose main() the fuzz targets have: our own that replays the corpus, or libFuzzer's.
FUZZ_MAIN  ?= $(B)/tests/fuzz/replay.o
TIME       ?= 60
JOBS       ?= 2
TARGETS    ?= $(patsubst tests/fuzz/fuzz_%.c,%,$(FUZZ))
DOCKER     ?= real
# How many sequences or kills, and what the random numbers start from.
model: N   ?= 100000
crash: N   ?= $(if $(filter simulated,$(DOCKER)),10000,200)
SEED       ?= 1

.DELETE_ON_ERROR:
.SECONDARY:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'

deps: ## install what building and testing need (Debian, as root)
	@sh tests/deps.sh

build: $(B)/ecsd $(B)/ecs-endpoint $(B)/ecs-logd $(B)/ecs-host ## compile ecsd, ecs-endpoint, ecs-logd and ecs-host into build/

$(B)/libcommon.a: $(call obj,$(COMMON))
$(B)/libagent.a: $(call obj,$(AGENT_LIB))
$(B)/libendpoint.a: $(call obj,$(filter-out agent/endpoint/server/main.c,$(ENDPOINT)))
$(B)/liblogging.a: $(call obj,$(filter-out logging/main.c,$(LOGGING)))
$(B)/libhost.a: $(call obj,$(filter-out agent/host/main.c,$(HOST)))
%.a:
	@rm -f $@
	@echo "  AR    $@"
	$(Q)ar rcs $@ $^

$(B)/ecsd: $(B)/agent/main.o $(B)/libagent.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)
$(B)/ecs-endpoint: $(B)/agent/endpoint/server/main.o $(B)/libendpoint.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)
$(B)/ecs-logd: $(B)/logging/main.o $(B)/liblogging.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)
# Of libagent.a it takes how configuration is read.
$(B)/ecs-host: $(B)/agent/host/main.o $(B)/libhost.a $(B)/libagent.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
# Objects are rebuilt when compiler or flags change.
$(B)/flags: FORCE
	@mkdir -p $(B)
	@echo '$(CC) $(CPPFLAGS) $(CFLAGS) $(LIBEXECDIR)' | cmp -s - $@ || echo '$(CC) $(CPPFLAGS) $(CFLAGS) $(LIBEXECDIR)' > $@
FORCE:
# The commit and the install path are known to one file only.
$(B)/commit: FORCE
	@echo '$(GIT_HASH)' | cmp -s - $@ || { mkdir -p $(B); echo '$(GIT_HASH)' > $@; }
$(B)/common/version.o: $(B)/commit
$(B)/common/version.o: CPPFLAGS += -DECSD_COMMIT='"$(GIT_HASH)"' -DECSD_LIBEXECDIR='"$(LIBEXECDIR)"'

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libhost.a $(B)/libagent.a $(B)/libendpoint.a $(B)/liblogging.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

# ecsd has names in common with ecs-logd.
$(B)/tests/unit/test_logging_%: $(B)/tests/unit/test_logging_%.o $(B)/liblogging.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka

$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(B)/tests/fuzz/setup.o $(filter %.o,$(FUZZ_MAIN)) \
		$(B)/libhost.a $(B)/libagent.a $(B)/libendpoint.a $(B)/liblogging.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $(filter -%,$(FUZZ_MAIN)) -o $@ $^ $(PKG_LIBS)

$(B)/tests/model/model: $(call obj,$(MODEL)) $(B)/libagent.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) $(MODEL_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(PKG_LIBS)

$(B)/tests/logging/%: $(B)/tests/logging/%.o $(B)/liblogging.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

run: deps ## build, then run a two-container task on a private instance (KEEP=1 stays up)
	@$(MAKE) --no-print-directory -s -j2 build
	@ECSD_BUILD=$(abspath $(B)) /usr/bin/python3 tests/demo/run.py

check: $(B)/ecs-endpoint $(UNIT_BIN) $(FUZZ_BIN) $(B)/tests/model/model ## unit tests, the fuzz targets' corpus and a short model run only
	@$(B)/tests/model/model -s 1 -n 4000
	@$(B)/tests/model/model $(wildcard tests/model/found/*)
	@$(B)/tests/model/model -m | tail -1
	@CMOCKA_MESSAGE_OUTPUT=STDOUT sh tests/unit/run.sh $(UNIT_BIN) $(FUZZ_BIN)

test: deps ## everything: unit tests and integration tests on a real Docker Engine
	@$(MAKE) --no-print-directory -s -j2 build build-unit build-crash
	@$(MAKE) --no-print-directory check
	@ECSD_BUILD=$(abspath $(B)) ECSD_CRASH_BUILD=$(abspath build/crash) sh tests/run.sh

check-asan: deps ## unit and integration tests under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory -s -j2 B=build/asan OPT='-O1 -g' SAN='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' build build-unit
	@$(MAKE) --no-print-directory B=build/asan OPT='-O1 -g' SAN='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' check
	@ECSD_BUILD=$(abspath build/asan) sh tests/run.sh

check-valgrind: deps ## unit tests, the fuzz targets' corpus and a short model run under valgrind (slow)
	@$(MAKE) --no-print-directory -s -j2 build build-unit
	@sh tests/valgrind.sh $(B)/tests/model/model $(UNIT_BIN) $(FUZZ_BIN)

build-unit: $(UNIT_BIN) $(FUZZ_BIN) $(B)/tests/model/model $(B)/tests/logging/feed $(B)/tests/logging/ship

model: ## play N (100000) random event sequences from SEED (1) against the engine, with all invariants checked
	@$(MAKE) --no-print-directory -s -j2 $(B)/tests/model/model
	@$(B)/tests/model/model -s $(SEED) -n $(N)

FUZZ_MAKE := $(MAKE) --no-print-directory -s -j2 CC=clang B=build/fuzz OPT='-O1 -g' FUZZ_MAIN=-fsanitize=fuzzer \
	SAN='-fsanitize=fuzzer-no-link,address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-omit-frame-pointer'
FUZZ_RUN  := $(patsubst %,build/fuzz/tests/fuzz/fuzz_%,$(TARGETS))

fuzz: deps ## fuzz parsers of outside bytes (TARGETS="a b") for TIME seconds (60), JOBS (2) at a time, with libFuzzer
	@$(FUZZ_MAKE) $(FUZZ_RUN)
	@JOBS=$(JOBS) sh tests/fuzz/run.sh $(TIME) build/fuzz $(FUZZ_RUN)

fuzz-corpus: deps ## add what `make fuzz` has found to reach new code to the corpus
	@$(FUZZ_MAKE) $(FUZZ_RUN)
	@sh tests/fuzz/merge.sh build/fuzz $(FUZZ_RUN)

fuzz-coverage: deps ## lines of the program that the fuzz targets' corpus reaches
	@$(MAKE) --no-print-directory -s -j2 CC=clang B=build/fuzz-coverage OPT='-O0 -g' \
		SAN='-fprofile-instr-generate -fcoverage-mapping' $(patsubst build/fuzz/%,build/fuzz-coverage/%,$(FUZZ_RUN))
	@sh tests/fuzz/coverage.sh build/fuzz-coverage $(patsubst build/fuzz/%,build/fuzz-coverage/%,$(FUZZ_RUN))

# Programs that can be told to die at a named point of their code (common/crash_point.h).
build-crash:
	@$(MAKE) --no-print-directory -s B=build/crash OPT='-O2 -g -DECSD_CRASH_POINTS' build

crash: deps ## random kills, and an oracle that compares: SEED= N=kills DOCKER=real or simulated
	@$(MAKE) --no-print-directory -s -j2 build-crash
	@ECSD_BUILD=$(abspath build/crash) /usr/bin/python3 tests/crash/campaign.py --docker $(DOCKER) --kills $(N) --seed $(SEED)

lint: deps ## clang-format, clang-tidy, cppcheck, shellcheck, python syntax; a clang build
	@sh tests/lint.sh

bench: deps ## what ecsd costs, as one table (ROWS=launch,idle a part; AGENT=/path another agent beside it)
	@$(MAKE) --no-print-directory -s -j2 build build-bench
	@ECSD_BUILD=$(abspath $(B)) /usr/bin/python3 tests/bench/bench.py

loss: deps ## what is lost of containers' logs, whatever goes wrong, with ecs-logd and with Docker's drivers (ROWS= DRIVERS= a part)
	@$(MAKE) --no-print-directory -s -j2 $(B)/ecs-logd
	@ECSD_BUILD=$(abspath $(B)) /usr/bin/python3 tests/logging/loss.py

BENCH_BIN := $(addprefix $(B)/tests/bench/,relay responder log_discard log_sink log_writer spool_bench)
build-bench: $(BENCH_BIN)
$(B)/tests/bench/spool_bench $(B)/tests/bench/log_discard: $(B)/tests/bench/%: $(B)/tests/bench/%.o $(B)/liblogging.a $(B)/libcommon.a
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)
# It runs in a container, which has no libraries.
$(B)/tests/bench/log_writer: $(B)/tests/bench/log_writer.o
	@echo "  LD    $@"
	$(Q)$(CC) $(filter-out -pie,$(LDFLAGS)) -static -o $@ $^
$(B)/tests/bench/%: $(B)/tests/bench/%.o
	@echo "  LD    $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -levent_core -levent_extra -lz

tables: build ## write the tables of docs/COMPATIBILITY.md and dist/ecs.defaults anew from the program's
	@$(B)/ecsd -print-packaged-defaults > dist/ecs.defaults
	@/usr/bin/python3 tests/integration/test_compatibility.py $(B)/ecsd

manual: $(B)/ecs.config.5
$(B)/ecs.config.5: $(B)/ecsd
	@echo "  MAN   $@"
	$(Q)$< -print-config-manual > $@

include dist/install.mk

image: deb ## build/image/disk.img: Debian 12 with Docker and the deb, made as the AMI is (as root; ami/README.md)
	@sh dist/deps.sh mmdebstrap grub-pc-bin fdisk e2fsprogs
	@sh ami/image.sh build/image

test-boot: image ## boot it in a virtual machine and check it from inside and outside (docs/BOOT.md; KEEP=1 stays up after a failure)
	@sh dist/deps.sh qemu-system-x86 openssh-client openssl gcc busybox-static iproute2 python3 python3-botocore
	@/usr/bin/python3 tests/boot/run.py
.PHONY: image test-boot

clean: ## remove build/
	rm -rf build

.PHONY: help deps build run check test check-asan check-valgrind build-unit build-crash crash model fuzz fuzz-corpus fuzz-coverage lint bench build-bench loss tables clean FORCE
-include $(shell find $(B) -path $(B)/packages -prune -o -name '*.d' -type f -print 2>/dev/null)
