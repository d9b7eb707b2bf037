/*
 * cdp.c
 *		The library's door: magic, and each room's initialisation in order.
 */
#include "postgres.h"

#include "activation/activation.h"
#include "base/base.h"
#include "identifier/identifier.h"
#include "identity/identity.h"
#include "segment/segment.h"
#include "worker/worker.h"

#if PG_VERSION_NUM >= 180000
PG_MODULE_MAGIC_EXT(.name = "cdp", .version = CDP_VERSION);
#else
PG_MODULE_MAGIC;
#endif

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	cdp_settings_init();
	cdp_identifier_init();
	cdp_graph_scan_init();
	cdp_segment_listener = cdp_activation_emit; /* what changes outside of a batch goes out too */
	cdp_worker_init();
}
