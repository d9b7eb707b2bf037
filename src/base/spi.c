/*
 * spi.c
 *		SQL from C: statements with kept plans, columns of values as arrays.
 */
#include "postgres.h"

#include "base/base.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

/* Parse "int8[],cdp.traits" into type OIDs; returns how many. */
static int
parse_types(const char *types, Oid *oids)
{
	char *copy = pstrdup(types);
	char *state = NULL;
	int n = 0;

	for (char *t = strtok_r(copy, ",", &state); t != NULL; t = strtok_r(NULL, ",", &state))
	{
		int32 typmod;

		if (n == CDP_MAX_ARGUMENTS)
			elog(ERROR, "cdp statement has more than %d arguments", CDP_MAX_ARGUMENTS);
#if PG_VERSION_NUM >= 160000
		parseTypeString(t, &oids[n++], &typmod, NULL);
#else
		parseTypeString(t, &oids[n++], &typmod, false);
#endif
	}
	pfree(copy);
	return n;
}

#define OUR_PATH "pg_catalog, pg_temp"

int
cdp_enter_path(void)
{
	int level;

	if (strcmp(namespace_search_path, OUR_PATH) == 0)
		return 0;
	level = NewGUCNestLevel();
	set_config_option("search_path", OUR_PATH, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
cdp_leave_path(int level)
{
	if (level > 0)
		AtEOXact_GUC(true, level);
}

/*
 * Plan a statement for the keys that it will be given, whatever the statistics say: a plan made while a table was
 * small, or its statistics old, is kept when it has grown.
 */
static void
plan_by_keys(SPIPlanPtr plan)
{
	static const char *const settings[] = {"enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit"};
	int level = NewGUCNestLevel();
	CachedPlan *made;

	for (int i = 0; i < (int) lengthof(settings); i++)
		set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	made = SPI_plan_get_cached_plan(plan);
	if (made != NULL)
		ReleaseCachedPlan(made, CurrentResourceOwner);
	AtEOXact_GUC(false, level);
}

/* Make the statement's plan, unless a good one is kept. */
static void
prepare(CdpQuery *query)
{
	Oid schema = get_namespace_oid("cdp", false);
	Oid oids[CDP_MAX_ARGUMENTS];
	SPIPlanPtr plan;

	if (query->plan != NULL && query->schema != schema)
	{
		SPI_freeplan(query->plan);
		query->plan = NULL;
	}
	if (query->plan == NULL)
	{
		query->n_arguments = parse_types(query->types, oids);
		plan = SPI_prepare_cursor(query->sql, query->n_arguments, oids, query->n_arguments > 0 ? CURSOR_OPT_GENERIC_PLAN : 0);
		if (plan == NULL)
			elog(ERROR, "could not prepare a cdp statement: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
		query->plan = plan;
		query->schema = schema;
	}
	else if (SPI_plan_is_valid(query->plan))
		return;
	/* one without arguments is about all rows; and in a parallel worker no setting may change */
	if (query->n_arguments > 0 && !IsInParallelMode())
		plan_by_keys(query->plan);
}

/* Run a statement; read-only: by the active snapshot. */
static uint64
run(CdpQuery *query, Datum *arguments, const char *nulls, bool is_read_only)
{
	MemoryContext caller = CurrentMemoryContext;
	int level;
	int code;

	if (!is_read_only)
		cdp_tables_close(); /* a trigger may want them for itself */
	level = cdp_enter_path();
	prepare(query);
	code = SPI_execute_plan(query->plan, arguments, nulls, is_read_only, 0);
	cdp_leave_path(level);
	MemoryContextSwitchTo(caller); /* SPI leaves its own context behind */
	if (code < 0)
		elog(ERROR, "could not run a cdp statement: %s", SPI_result_code_string(code));
	return SPI_processed;
}

uint64
cdp_run(CdpQuery *query, Datum *arguments, const char *nulls)
{
	return run(query, arguments, nulls, false);
}

uint64
cdp_run_read(CdpQuery *query, Datum *arguments, const char *nulls)
{
	return run(query, arguments, nulls, true);
}

uint64
cdp_run_latest(CdpQuery *query, Datum *arguments, const char *nulls)
{
	uint64 n;

	if (IsInParallelMode()) /* all its processes see the same, and none may take a snapshot of its own */
		return cdp_run_read(query, arguments, nulls);
	PushActiveSnapshot(GetLatestSnapshot());
	n = run(query, arguments, nulls, true);
	PopActiveSnapshot();
	return n;
}

bool *
cdp_find_any(CdpQuery *query)
{
	bool *found = palloc(sizeof(bool));

	*found = cdp_run_latest(query, NULL, NULL) > 0;
	cdp_done();
	return found;
}

Portal
cdp_open(CdpQuery *query, Datum *arguments)
{
	MemoryContext caller = CurrentMemoryContext;
	int level = cdp_enter_path();
	Portal portal;

	prepare(query);
	portal = SPI_cursor_open(NULL, query->plan, arguments, NULL, false);
	cdp_leave_path(level);
	MemoryContextSwitchTo(caller);
	return portal;
}

uint64
cdp_fetch(Portal portal, int n)
{
	MemoryContext caller = CurrentMemoryContext;

	SPI_cursor_fetch(portal, true, n);
	MemoryContextSwitchTo(caller);
	return SPI_processed;
}

void
cdp_close(Portal portal)
{
	MemoryContext caller = CurrentMemoryContext;

	SPI_cursor_close(portal);
	MemoryContextSwitchTo(caller);
}

void
cdp_done(void)
{
	SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = NULL;
}

void
cdp_stream(const char *query, DestReceiver *receiver, const char *hint)
{
	SPIExecuteOptions options = {.read_only = true, .dest = receiver};
	SPIPlanPtr plan = SPI_prepare(query, 0, NULL);
	int code;

	if (plan == NULL)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("the query could not be prepared"), errhint("%s", hint)));
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the query does not return rows, or is more than one"), errhint("%s", hint)));
	code = SPI_execute_plan_extended(plan, &options);
	if (code < 0)
		elog(ERROR, "could not run the query: %s", SPI_result_code_string(code));
}

Datum
cdp_result_datum(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

int64
cdp_result_int64(uint64 row, int column, int64 if_null)
{
	bool isnull;
	Datum value = cdp_result_datum(row, column, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

char *
cdp_result_cstring(uint64 row, int column)
{
	bool isnull;
	Datum value = cdp_result_datum(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* How values of a type are kept; the commonest are known. */
static void
describe_type(CdpColumn *column)
{
	switch (column->type)
	{
		case INT8OID:
		case TIMESTAMPTZOID:
			column->typlen = sizeof(int64);
			column->typbyval = FLOAT8PASSBYVAL;
			column->typalign = TYPALIGN_DOUBLE;
			break;
		case INT4OID:
		case DATEOID:
			column->typlen = sizeof(int32);
			column->typbyval = true;
			column->typalign = TYPALIGN_INT;
			break;
		case BOOLOID:
			column->typlen = sizeof(bool);
			column->typbyval = true;
			column->typalign = TYPALIGN_CHAR;
			break;
		case TIDOID:
			column->typlen = sizeof(ItemPointerData);
			column->typbyval = false;
			column->typalign = TYPALIGN_SHORT;
			break;
		case UUIDOID:
			column->typlen = UUID_LEN;
			column->typbyval = false;
			column->typalign = TYPALIGN_CHAR;
			break;
		case TEXTOID:
		case JSONBOID:
			column->typlen = -1;
			column->typbyval = false;
			column->typalign = TYPALIGN_INT;
			break;
		default:
			get_typlenbyvalalign(column->type, &column->typlen, &column->typbyval, &column->typalign);
	}
}

/* The arrays stand behind the column, until it grows out of them. */
CdpColumn *
cdp_column(Oid type, int expected)
{
	Size capacity = Max(8, expected);
	CdpColumn *column = palloc_extended(sizeof(CdpColumn) + (sizeof(Datum) + sizeof(bool)) * capacity, MCXT_ALLOC_HUGE);

	memset(column, 0, sizeof(CdpColumn));
	column->type = type;
	describe_type(column);
	column->capacity = capacity;
	column->values = (Datum *) (column + 1);
	column->nulls = (bool *) (column->values + capacity);
	return column;
}

/* Move the arrays to where there is twice the room, beside the column. */
static void
grow(CdpColumn *column)
{
	MemoryContext context = GetMemoryChunkContext(column);
	Size capacity = 2 * (Size) column->capacity;
	Datum *values = MemoryContextAllocHuge(context, (sizeof(Datum) + sizeof(bool)) * capacity);
	bool *nulls = (bool *) (values + capacity);

	memcpy(values, column->values, sizeof(Datum) * column->n);
	memcpy(nulls, column->nulls, sizeof(bool) * column->n);
	if (column->values != (Datum *) (column + 1))
		pfree(column->values);
	column->values = values;
	column->nulls = nulls;
	column->capacity = capacity;
}

static inline void
add(CdpColumn *column, Datum value, bool isnull)
{
	if (column->n == column->capacity)
		grow(column);
	column->values[column->n] = value;
	column->nulls[column->n] = isnull;
	column->has_nulls |= isnull;
	column->n++;
}

void
cdp_column_add(CdpColumn *column, Datum value)
{
	add(column, value, false);
}

void
cdp_column_add_null(CdpColumn *column)
{
	add(column, (Datum) 0, true);
}

void
cdp_column_add_any(CdpColumn *column, Datum value, bool is_null)
{
	add(column, is_null ? (Datum) 0 : value, is_null);
}

void
cdp_column_add_text(CdpColumn *column, const char *value, int len)
{
	if (value == NULL)
		add(column, (Datum) 0, true);
	else
		add(column, PointerGetDatum(cstring_to_text_with_len(value, len)), false);
}

Datum
cdp_column_array(CdpColumn *column)
{
	int dims = column->n;
	int lower = 1;

	return PointerGetDatum(construct_md_array(column->values, column->has_nulls ? column->nulls : NULL,
											  column->n == 0 ? 0 : 1, &dims, &lower, column->type, column->typlen,
											  column->typbyval, column->typalign));
}

int
cdp_compare_int64(const void *a, const void *b)
{
	int64 p = *(const int64 *) a;
	int64 q = *(const int64 *) b;

	return p < q ? -1 : p > q;
}

int
cdp_sort_distinct(int64 *values, int n)
{
	int kept = 0;

	qsort(values, n, sizeof(int64), cdp_compare_int64);
	for (int i = 0; i < n; i++)
	{
		if (i == 0 || values[i] != values[i - 1])
			values[kept++] = values[i];
	}
	return kept;
}

CdpColumn *
cdp_int64_column(const int64 *values, int n)
{
	CdpColumn *column = cdp_column(INT8OID, n);

	for (int i = 0; i < n; i++)
		cdp_column_add(column, Int64GetDatum(values[i]));
	return column;
}

Datum
cdp_int64_array(const int64 *values, int n)
{
	return cdp_column_array(cdp_int64_column(values, n));
}

int64 *
cdp_int64_elements(ArrayType *array, int *n)
{
	Datum *elements;
	bool *nulls;
	int64 *values;
	int n_elements;
	int n_values = 0;

	deconstruct_array(array, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, &nulls, &n_elements);
	values = palloc_extended(sizeof(int64) * ((Size) n_elements + 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n_elements; i++)
	{
		if (!nulls[i])
			values[n_values++] = DatumGetInt64(elements[i]);
	}
	*n = cdp_sort_distinct(values, n_values);
	return values;
}
