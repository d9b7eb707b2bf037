/*
 * cached.c
 *		What a session reads out of tables of rules once, and again after they changed.
 */
#include "postgres.h"

#include "base/base.h"
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cdp_rules_changed);

static CdpCached *all = NULL;

/* Note that rules may have changed; runs at any time, so it does nothing else. */
static void
forget(Datum arg, Oid relation)
{
	for (CdpCached *cached = all; cached != NULL; cached = cached->next)
	{
		if (relation == InvalidOid || relation == cached->relation)
			cached->is_valid = false;
	}
}

/* From now on hear of changes. */
static void
make_known(CdpCached *cached)
{
	if (all == NULL)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	cached->next = all;
	cached->is_known = true;
	all = cached;
}

void *
cdp_cached(CdpCached *cached)
{
	MemoryContext fresh;
	MemoryContext old = CurrentMemoryContext;
	void *value;

	if (cached->is_valid)
		return cached->value;
	cdp_require_init();
	if (!cached->is_known)
		make_known(cached);
	fresh = AllocSetContextCreate(TopMemoryContext, "cdp rules", ALLOCSET_SMALL_SIZES);
	cached->relation = cdp_find_relation(cached->table);
	cached->is_valid = true; /* an invalidation that comes while reading clears it again */
	SPI_connect();
	MemoryContextSwitchTo(fresh);
	PG_TRY();
	{
		value = cached->read();
	}
	PG_CATCH();
	{
		cached->is_valid = false;
		MemoryContextDelete(fresh);
		PG_RE_THROW();
	}
	PG_END_TRY();
	SPI_finish();
	MemoryContextSwitchTo(old);
	if (cached->context != NULL) /* who still reads the old ones does so in this transaction */
		MemoryContextSetParent(cached->context, TopTransactionContext);
	cached->context = fresh;
	cached->value = value;
	return value;
}

/* cdp.rules_changed(): a statement trigger. */
Datum
cdp_rules_changed(PG_FUNCTION_ARGS)
{
	const Trigger *trigger = CALLED_AS_TRIGGER(fcinfo) ? ((TriggerData *) fcinfo->context)->tg_trigger : NULL;
	Oid relation = cdp_find_relation(trigger != NULL && trigger->tgnargs > 0 ? trigger->tgargs[0] : "namespace");

	if (OidIsValid(relation))
		CacheInvalidateRelcacheByRelid(relation);
	return PointerGetDatum(NULL); /* of an AFTER trigger it is ignored */
}
