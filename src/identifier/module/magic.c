/*
 * magic.c
 *		What PostgreSQL asks of a library before it opens it; all of it that a module sees.
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;
