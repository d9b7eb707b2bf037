/*
 * timeline_funnel.c
 *		How far somebody came: steps in their order, within a time from the first to the last.
 *
 * For each step the latest beginning of a chain that reached it is kept; a later beginning is never worse, so one
 * is enough, and an event costs no more than the steps of its name.  An event takes one step at most.  Events at
 * one instant have no order, and count in the order of the steps.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "profile/timeline.h"

#define NEVER (-(INT64CONST(1) << 62)) /* longer ago than any window is long */

typedef struct Chains
{
	const CdpFunnel *funnel;
	int depth;								 /* steps that somebody took */
	TimestampTz began[CDP_FUNNEL_MAX_STEPS]; /* the latest chain that took step i began at */
	int same[CDP_FUNNEL_MAX_STEPS];			 /* the first step of the same name */
} Chains;

/* Take one event, whose name is that of some steps; the last of them first, so that it takes one step only. */
static inline void
take_event(Chains *chains, uint32 steps, TimestampTz at)
{
	while (steps > 1)
	{
		int step = 31 - __builtin_clz(steps);
		TimestampTz began = chains->began[step - 1];

		if (at - began <= chains->funnel->within)
		{
			chains->began[step] = began;
			chains->depth = Max(chains->depth, step + 1);
		}
		steps &= ~((uint32) 1 << step);
	}
	if (steps != 0)
	{
		chains->began[0] = at;
		chains->depth = Max(chains->depth, 1);
	}
}

/* Go on with a chain that stands before a step, as far as events at one instant allow. */
static void
extend(Chains *chains, const TimestampTz *before, const uint32 *left, int step, TimestampTz at)
{
	TimestampTz began = step == 0 ? at : before[step - 1];
	uint32 counts[CDP_FUNNEL_MAX_STEPS];

	if (at - began > chains->funnel->within)
		return;
	memcpy(counts, left, sizeof(counts));
	for (; step < chains->funnel->n_steps && counts[chains->same[step]] > 0; step++)
	{
		counts[chains->same[step]]--;
		chains->began[step] = Max(chains->began[step], began);
		chains->depth = Max(chains->depth, step + 1);
	}
}

/* Take several events at one instant: so many of each name. */
static void
take_events(Chains *chains, const uint32 *counts, TimestampTz at)
{
	TimestampTz before[CDP_FUNNEL_MAX_STEPS];

	memcpy(before, chains->began, sizeof(before));
	for (int step = 0; step < chains->funnel->n_steps; step++)
		extend(chains, before, counts, step, at);
}

/* The steps that have a name, as bits. */
static uint32
steps_of(const CdpFunnel *funnel, const CdpWord *name)
{
	uint32 steps = 0;

	for (int i = 0; i < funnel->n_steps; i++)
	{
		if (funnel->steps[i].length == name->length && memcmp(funnel->steps[i].text, name->text, name->length) == 0)
			steps |= (uint32) 1 << i;
	}
	return steps;
}

/* How many steps in a row there are events of: no more can be taken. */
static int
most_steps(uint32 steps)
{
	return steps == PG_UINT32_MAX ? 32 : __builtin_ctz(~steps);
}

static void
begin_chains(Chains *chains, const CdpFunnel *funnel)
{
	chains->funnel = funnel;
	chains->depth = 0;
	for (int i = 0; i < funnel->n_steps; i++)
	{
		chains->began[i] = NEVER;
		chains->same[i] = __builtin_ctz(steps_of(funnel, &funnel->steps[i]));
	}
}

int
cdp_funnel_depth(CdpTimelineReader *reader, const CdpFunnel *funnel)
{
	uint32 few[CDP_TIMELINE_INLINE];
	uint32 *steps = few; /* of each kind */
	uint32 all_steps = 0;
	int most;
	Chains chains;
	bool is_next;

	if (reader->n_kinds > CDP_TIMELINE_INLINE)
		steps = palloc_extended(sizeof(uint32) * reader->n_kinds, MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < reader->n_kinds; i++)
		all_steps |= steps[i] = steps_of(funnel, &reader->words[reader->kinds[i].name]);
	most = most_steps(all_steps);
	if (most == 0)
		return 0;
	begin_chains(&chains, funnel);
	is_next = cdp_timeline_next(reader);
	while (is_next && chains.depth < most)
	{
		TimestampTz at = reader->at;
		uint32 taken = steps[reader->kind];
		uint32 counts[CDP_FUNNEL_MAX_STEPS];

		is_next = cdp_timeline_next(reader);
		if (!is_next || reader->at != at)
		{
			take_event(&chains, taken, at);
			continue;
		}
		memset(counts, 0, sizeof(counts));
		if (taken != 0)
			counts[__builtin_ctz(taken)]++;
		for (; is_next && reader->at == at; is_next = cdp_timeline_next(reader))
		{
			taken = steps[reader->kind];
			if (taken != 0)
				counts[__builtin_ctz(taken)]++;
		}
		take_events(&chains, counts, at);
	}
	return chains.depth;
}
