/*
 * graph_scan.c
 *		cdp.connected_components() in a FROM clause: a scan of the graph itself.
 *
 * PostgreSQL's own scan of a function first writes all rows to a store, on disk beyond
 * work_mem, and then reads them back.  Here they already stand in memory, denser than in
 * any store, and can be gone through in both directions and again.
 *
 * The function is recognised by its planner support function.  As the planner asks that
 * one before it calls our hook, this library is loaded, and the hook set, in time for the
 * first such query of a session.  What is rare stays with PostgreSQL's scan: ROWS FROM,
 * WITH ORDINALITY, whole rows (which row locks take too), correlated subqueries as arguments.
 */
#include "postgres.h"

#include "identity/graph.h"
#include "identity/identity.h"
#include "access/sysattr.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/plancat.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(cdp_connected_components_support);

#define NAME "cdp.connected_components"

typedef struct GraphScan
{
	CustomScanState pub;
	FuncExpr *call;
	List *arguments;	   /* how to evaluate the call's */
	Bitmapset *params;	   /* what they depend on */
	MemoryContext context; /* of the graph */
	CdpComponents *graph;	   /* NULL: not read yet */
	int64 row;			   /* the one given out last; -1: before the first */
} GraphScan;

/* --- the scan ---------------------------------------------------------------------- */

/* May the user call the function?  Nobody asks where it is not called. */
static void
check_right(Oid function)
{
	AclResult result;

#if PG_VERSION_NUM >= 160000
	result = object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE);
#else
	result = pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);
#endif
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, get_func_name(function));
	InvokeFunctionExecuteHook(function);
}

static void
begin(CustomScanState *pub, EState *estate, int flags)
{
	GraphScan *scan = (GraphScan *) pub;

	scan->call = linitial_node(FuncExpr, ((CustomScan *) pub->ss.ps.plan)->custom_exprs);
	check_right(scan->call->funcid);
	scan->arguments = ExecInitExprList(scan->call->args, &pub->ss.ps);
	scan->params = pull_paramids((Expr *) scan->call);
	scan->context = AllocSetContextCreate(estate->es_query_cxt, "cdp identity graph", ALLOCSET_DEFAULT_SIZES);
	scan->row = -1;
}

/* Evaluate the arguments and run the query. */
static CdpComponents *
read_graph(GraphScan *scan)
{
	ExprContext *econtext = scan->pub.ss.ps.ps_ExprContext;
	List *types = scan->call->args;
	Oid type = list_length(types) == 1 ? INT8OID : exprType(lsecond(types));
	MemoryContext old;
	NullableDatum query;
	CdpComponents *graph;

	query.value = ExecEvalExprSwitchContext(linitial(scan->arguments), econtext, &query.isnull);
	old = MemoryContextSwitchTo(scan->context);
	graph = cdp_graph_read(query, type);
	MemoryContextSwitchTo(old);
	return graph;
}

/* The next row, in the direction in which the executor goes; an empty slot at either end. */
static TupleTableSlot *
next_row(ScanState *state)
{
	GraphScan *scan = (GraphScan *) state;
	TupleTableSlot *slot = state->ss_ScanTupleSlot;
	int64 n_rows;

	if (scan->graph == NULL)
		scan->graph = read_graph(scan);
	n_rows = scan->graph->nodes.n_nodes;
	if (ScanDirectionIsBackward(state->ps.state->es_direction))
		scan->row = Max(scan->row - 1, -1);
	else
		scan->row = Min(scan->row + 1, n_rows);
	ExecClearTuple(slot);
	if (scan->row < 0 || scan->row == n_rows)
		return slot;
	cdp_graph_row(scan->graph, scan->row, slot->tts_values);
	slot->tts_isnull[0] = slot->tts_isnull[1] = false;
	return ExecStoreVirtualTuple(slot);
}

/* Is a row still what it was?  None can change. */
static bool
recheck(ScanState *state, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
give_row(CustomScanState *pub)
{
	return ExecScan(&pub->ss, next_row, recheck);
}

/* From the first row on again; the query is run again only if it may be another one. */
static void
rescan(CustomScanState *pub)
{
	GraphScan *scan = (GraphScan *) pub;

	ExecScanReScan(&pub->ss);
	scan->row = -1;
	if (!bms_overlap(pub->ss.ps.chgParam, scan->params))
		return;
	scan->graph = NULL;
	MemoryContextReset(scan->context);
}

static void
end(CustomScanState *pub)
{
	MemoryContextDelete(((GraphScan *) pub)->context);
}

static const CustomExecMethods exec_methods = {
	.CustomName = NAME,
	.BeginCustomScan = begin,
	.ExecCustomScan = give_row,
	.EndCustomScan = end,
	.ReScanCustomScan = rescan,
};

static Node *
make_state(CustomScan *plan)
{
	GraphScan *scan = (GraphScan *) newNode(sizeof(GraphScan), T_CustomScanState);

	scan->pub.methods = &exec_methods;
	return (Node *) scan;
}

/* --- planning -------------------------------------------------------------------- */

static set_rel_pathlist_hook_type previous_set_rel_pathlist = NULL;

/* It has no advice to give; to be there is enough. */
Datum
cdp_connected_components_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(NULL);
}

/* The call of our function that an item of a FROM clause is; NULL: it is something else. */
static FuncExpr *
call_of(RangeTblEntry *rte)
{
	FuncExpr *call;
	FmgrInfo support;
	Oid support_oid;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality || list_length(rte->functions) != 1)
		return NULL;
	call = (FuncExpr *) linitial_node(RangeTblFunction, rte->functions)->funcexpr;
	if (!IsA(call, FuncExpr) || !OidIsValid(support_oid = get_func_support(call->funcid)))
		return NULL;
	fmgr_info(support_oid, &support);
	return support.fn_addr == cdp_connected_components_support ? call : NULL;
}

/* Is its row wanted as one value? */
static bool
takes_whole_row(RelOptInfo *rel)
{
	Bitmapset *columns = NULL;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &columns);
	pull_varattnos((Node *) extract_actual_clauses(rel->baserestrictinfo, false), rel->relid, &columns);
	return bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, columns);
}

static const CustomScanMethods scan_methods = {.CustomName = NAME, .CreateCustomScanState = make_state};

static Plan *
make_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *targets, List *clauses, List *plans)
{
	CustomScan *scan = makeNode(CustomScan);

	scan->scan.plan.targetlist = targets;
	scan->scan.plan.qual = extract_actual_clauses(clauses, false);
	scan->flags = path->flags;
	scan->custom_exprs = list_make1(call_of(planner_rt_fetch(rel->relid, root)));
	scan->custom_scan_tlist = build_physical_tlist(root, rel);
	scan->methods = &scan_methods;
	return &scan->scan.plan;
}

static const CustomPathMethods path_methods = {.CustomName = NAME, .PlanCustomPath = make_plan};

/* Put our scan in the place of PostgreSQL's: it is thought to cost as much, and never costs more. */
static void
set_path(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	FuncExpr *call;
	Path *theirs;
	CustomPath *path;

	if (previous_set_rel_pathlist != NULL)
		previous_set_rel_pathlist(root, rel, rti, rte);
	if ((call = call_of(rte)) == NULL || list_length(rel->pathlist) != 1)
		return;
	theirs = linitial(rel->pathlist);
	/* it may be another one where nothing is to be read */
	if (theirs->pathtype != T_FunctionScan || takes_whole_row(rel) || contain_subplans((Node *) call))
		return;
	path = makeNode(CustomPath);
	path->path = *theirs;
	path->path.type = T_CustomPath;
	path->path.pathtype = T_CustomScan;
	path->flags = CUSTOMPATH_SUPPORT_BACKWARD_SCAN | CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &path_methods;
	rel->pathlist = list_make1(path);
}

void
cdp_graph_scan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	previous_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_path;
}
