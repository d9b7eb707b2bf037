/*
 * settings.h
 *		Every configuration parameter (GUC) of the extension, in one table.
 */
#ifndef CDP_SETTINGS_H
#define CDP_SETTINGS_H

extern int cdp_max_event_bytes;	  /* cdp.max_event_bytes, bytes */
extern int cdp_max_batch_events;  /* cdp.max_batch_events */
extern int cdp_max_payload_bytes; /* cdp.max_batch_bytes, bytes */
extern int cdp_dedup_window;	  /* cdp.dedup_window, seconds */
extern bool cdp_process_immediately; /* cdp.process_immediately */
extern bool cdp_log_stage_times;	 /* cdp.log_stage_times */
extern int cdp_identity_max_component; /* cdp.identity_max_component, links */
extern int cdp_max_resolve_memory;	 /* cdp.max_resolve_memory, kB */
extern char *cdp_clock_setting; /* cdp.clock: '' or a timestamp that stands in for now() */
extern int cdp_worker_naptime;	/* cdp.worker_naptime, milliseconds */
extern char *cdp_worker_role;	/* cdp.worker_role: role the worker acts as */
extern int cdp_table_source_timeout; /* cdp.table_source_timeout, milliseconds */
extern int cdp_transformation_timeout; /* cdp.transformation_timeout, milliseconds */

extern void cdp_settings_init(void);

#endif
