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
else
$(error SAN must be empty, asan or tsan)
endif
# Recursive on purpose: pkg-config is asked only when something is compiled, after the packages were installed.
LIB_CFLAGS = $(eval LIB_CFLAGS := $$(shell pkg-config --cflags $(LIBS)))$(LIB_CFLAGS)
LIB_LDLIBS = $(eval LIB_LDLIBS := $$(shell pkg-config --libs $(LIBS)))$(LIB_LDLIBS)
CFLAGS   ?=
VERSION  := 0.1.0
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DVD_VERSION='"$(VERSION)"' -Iworker $(WARN) $(OPT) -fPIE -MMD -MP $(LIB_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(OPT) -pie -Wl,-z,relro,-z,now $(LDFLAGS)
ALL_LDLIBS  = $(LIB_LDLIBS) -lm -lpthread

SRC   := $(foreach d,$(ONLY),$(wildcard worker/$(d)/*.c))
OBJ   := $(SRC:%.c=$(OUT)/%.o)
LIB   := $(OUT)/libverdict.a
UNITS := $(patsubst tests/unit/test_%.c,%,$(wildcard tests/unit/test_*.c))
UNIT  ?= $(UNITS)

.PHONY: all
all: $(BUILD)/verdict ## build the release binary, build/verdict

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(LIB): $(OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(OUT)/verdict: $(OUT)/worker/main.o $(LIB)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/verdict: $(OUT)/verdict
	@ln -sf $(VARIANT)/verdict $@

$(OUT)/tests/unit/test_%: $(OUT)/tests/unit/test_%.o $(LIB)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(ALL_LDLIBS)

.PHONY: unit
unit: $(UNIT:%=$(OUT)/tests/unit/test_%) ## build and run the unit tests; UNIT="a b" for some, SAN=asan for sanitizers
	@set -e; for t in $^; do $$t; done

-include $(OBJ:.o=.d) $(OUT)/worker/main.d
.SECONDARY:
