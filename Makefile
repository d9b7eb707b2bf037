# cdp: a Customer Data Platform as a PostgreSQL extension.
#
#   make && make install && make installcheck    as for any PGXS extension
#   make demo, make test, make bench             do their own set-up (see README.md)
#
# One noun, one room: each word below names the folder in src/, the part in sql/ (and,
# as <noun>_<subject>, its further parts), the tests and the page in docs/.  The order
# is that of the floors, lowest first.

NOUNS = base identifier event identity profile consent segment activation pipeline worker

EXTENSION = cdp
# not VERSION, which PGXS sets to that of PostgreSQL
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(dir $(lastword $(MAKEFILE_LIST)))cdp.control)
MODULE_big = cdp
# beside cdp.so, which opens them when they are first needed
MODULES = cdp_phone cdp_domain
DATA_built = cdp--$(EXTVERSION).sql

OBJS_modules = $(addprefix src/identifier/module/, phone.o domain.o magic.o)
OBJS = $(sort src/cdp.o $(patsubst $(srcdir)/%.c,%.o,$(foreach noun,$(NOUNS),$(wildcard $(srcdir)/src/$(noun)/*.c))) \
	src/segment/predicate_parse.o src/segment/predicate_scan.o)

PG_CPPFLAGS = -I$(srcdir)/src -DCDP_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wno-declaration-after-statement -Wno-vla
ifeq ($(shell uname -s), Linux) # calls from file to file, and to the server, by no detour
PG_CFLAGS += -fno-semantic-interposition -fno-plt
SHLIB_LINK += -Wl,-Bsymbolic-functions
endif
override with_llvm = no # bitcode would triple the build and inline nothing of value

REGRESS_OPTS = --inputdir=test --load-extension=cdp
REGRESS = $(sort $(basename $(notdir $(wildcard $(srcdir)/test/sql/*.sql))))
ISOLATION = $(sort $(basename $(notdir $(wildcard $(srcdir)/test/isolation/specs/*.spec))))
ISOLATION_OPTS = --inputdir=$(srcdir)/test/isolation --load-extension=cdp

EXTRA_CLEAN = $(OBJS_modules) cdp--$(EXTVERSION).sql src/segment/predicate_parse.c src/segment/predicate_parse.h src/segment/predicate_scan.c

# These start on a machine with nothing installed, so they cannot need PGXS.
SELF_SUFFICIENT = demo demo-stop test bench soak
ifneq ($(filter-out $(SELF_SUFFICIENT),$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
endif

# The installation script is its parts, floor by floor.
cdp--$(EXTVERSION).sql: sql/prologue.sql $(foreach noun,$(NOUNS),sql/$(noun).sql $(sort $(wildcard $(srcdir)/sql/$(noun)_*.sql))) sql/epilogue.sql
	cat $^ > $@

# PGXS does not follow headers: any header makes everything anew.
$(OBJS) $(OBJS_modules): $(wildcard $(srcdir)/src/*/*.h)

# Each wraps a library of others'.
cdp_phone$(DLSUFFIX): src/identifier/module/phone.o src/identifier/module/magic.o
	$(CXX) $(CXXFLAGS) -shared -o $@ $^ $(LDFLAGS) $(LDFLAGS_SL) -lphonenumber
cdp_domain$(DLSUFFIX): src/identifier/module/domain.o src/identifier/module/magic.o
	$(CC) $(CFLAGS) -shared -o $@ $^ $(LDFLAGS) $(LDFLAGS_SL) -lidn2

src/segment/predicate_parse.c: src/segment/predicate_parse.y
	$(BISON) -d $(BISONFLAGS) -o $@ $<
src/segment/predicate_parse.h: src/segment/predicate_parse.c ;
src/segment/predicate_scan.c: src/segment/predicate_scan.l
	$(FLEX) $(FLEXFLAGS) -o$@ $<
src/segment/predicate_parse.o src/segment/predicate_scan.o: src/segment/predicate_parse.h

# Each does its own set-up: packages, build, a throw-away cluster.  Variables given to make
# (DATA, ONLY, TESTS, PG_CONFIG, ...) reach the scripts, which say at their top what they take.
.PHONY: $(SELF_SUFFICIENT)
$(SELF_SUFFICIENT):
	@scripts/$@
