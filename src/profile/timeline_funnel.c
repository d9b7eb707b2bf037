/*
 * timeline_funnel.c
 *		How far somebody came: steps in their order, within a time from the first to the last.
 *
 * For each step the latest beginning of a chain that reached it is kept.  A later beginning is never worse,
 *so one is enough, and an event costs a look at each step of its name, the last one first: so it takes one
 *step at most. Events at one instant have no order, and count in the order of the steps.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "profile/timeline.h"

#define NEVER (-(INT64CONST(1) << 62)) /* longer ago than any window is long */
#define NO_STEP (CDP_FUNNEL_MAX_STEPS + 1)

/* Steps are 1, 2, ..; 0 is before the first, NO_STEP what is none. */
typedef struct Chains
{
	const CdpFunnel *funnel;
	TimestampTz began[NO_STEP + 1]; /* the latest chain that took the step began at */
	bool is_crowd;					/* events at one instant are being counted */
	uint32 crowd[NO_STEP + 1];		/* so many of each name, by its earliest step */
} Chains;

/* Take one event of a name, whose last step it is. */
static inline void
take_event(Chains *chains, int step, TimestampTz at)
{
	chains->began[0] = at;
	do
	{
		TimestampTz began = chains->began[step - 1];
		TimestampTz old = chains->began[step];
		int64 is_late =
			-(int64) (at - began >
					  chains->funnel->within); /* all bits: a branch would be guessed wrong too often */

		chains->began[step] = (old & is_late) | (began & ~is_late);
		step = chains->funnel->earlier[step];
	} while (step != 0);
}

/* Go on with a chain that stands before a step, as far as the crowd allows. */
static void
extend(Chains *chains, TimestampTz began, int step, TimestampTz at)
{
	uint32 left[NO_STEP + 1];

	if (at - began > chains->funnel->within)
		return;
	memcpy(left, chains->crowd, sizeof(left));
	for (; step <= chains->funnel->n_steps && left[chains->funnel->earliest[step]] > 0; step++)
	{
		left[chains->funnel->earliest[step]]--;
		chains->began[step] = Max(chains->began[step], began);
	}
}

/* Take the crowd: the chains go on from where they stood before. */
static void
take_crowd(Chains *chains, TimestampTz at)
{
	TimestampTz before[NO_STEP + 1];

	chains->began[0] = at;
	memcpy(before, chains->began, sizeof(before));
	for (int step = 1; step <= chains->funnel->n_steps; step++)
		extend(chains, before[step - 1], step, at);
}

/* Take an event that stands in a crowd, the last one or not. */
static void
take_in_crowd(Chains *chains, int step, TimestampTz at, bool is_last)
{
	if (!chains->is_crowd)
		memset(chains->crowd, 0, sizeof(chains->crowd));
	chains->crowd[chains->funnel->earliest[step]]++;
	chains->is_crowd = !is_last;
	if (is_last)
		take_crowd(chains, at);
}

/* The last step, of the first so many, that has a name; 0 when there is none. */
static int
find_step(const CdpFunnel *funnel, const CdpWord *name, int step)
{
	for (; step > 0; step--)
	{
		const CdpWord *other = &funnel->steps[step - 1];

		if (other->length == name->length && memcmp(other->text, name->text, name->length) == 0)
			break;
	}
	return step;
}

void
cdp_funnel_prepare(CdpFunnel *funnel)
{
	for (int step = 1; step <= funnel->n_steps; step++)
	{
		int earlier = find_step(funnel, &funnel->steps[step - 1], step - 1);

		funnel->earlier[step] = earlier;
		funnel->earliest[step] = earlier == 0 ? step : funnel->earliest[earlier];
	}
	funnel->earlier[NO_STEP] = 0;
	funnel->earliest[NO_STEP] = NO_STEP;
}

static void
begin_chains(Chains *chains, const CdpFunnel *funnel)
{
	chains->funnel = funnel;
	chains->is_crowd = false;
	for (int step = 1; step <= funnel->n_steps; step++)
		chains->began[step] = NEVER;
	chains->began[NO_STEP] = chains->began[NO_STEP - 1] = NEVER;
}

/* How many steps were taken. */
static int
depth_of(const Chains *chains)
{
	int step = chains->funnel->n_steps;

	while (step > 0 && chains->began[step] == NEVER)
		step--;
	return step;
}

/* The last step of each kind's name. */
static void
find_steps(const CdpTimelineReader *reader, const CdpFunnel *funnel, uint8 *steps)
{
	for (uint32 i = 0; i < reader->n_kinds; i++)
	{
		int step = find_step(funnel, &reader->words[reader->kinds[i].name], funnel->n_steps);

		steps[i] = step == 0 ? NO_STEP : step;
	}
}

int
cdp_funnel_depth(CdpTimelineReader *reader, const CdpFunnel *funnel)
{
	uint8 few[CDP_TIMELINE_INLINE];
	uint8 *steps = few;
	TimestampTz at[CDP_TIMELINE_MANY + 2];
	uint32 kinds[CDP_TIMELINE_MANY + 2];
	int waiting = 0; /* an event that is taken when the next one's instant is known */
	Chains chains;
	int n;

	if (reader->count == 0)
		return 0;
	if (reader->n_kinds > CDP_TIMELINE_INLINE)
		steps = palloc_extended(reader->n_kinds, MCXT_ALLOC_HUGE);
	find_steps(reader, funnel, steps);
	begin_chains(&chains, funnel);
	do
	{
		int m; /* to be taken now */

		CHECK_FOR_INTERRUPTS();
		n = cdp_timeline_next_many(reader, at + waiting, kinds + waiting, CDP_TIMELINE_MANY);
		at[waiting + n] = DT_NOEND;
		kinds[waiting + n] = 0;
		m = waiting + n - (n == CDP_TIMELINE_MANY);
		for (int i = 0; i < m; i++)
		{
			int step = steps[kinds[i]];
			bool is_last = at[i] != at[i + 1];

			if (is_last && !chains.is_crowd)
				take_event(&chains, step, at[i]);
			else
				take_in_crowd(&chains, step, at[i], is_last);
		}
		at[0] = at[m];
		kinds[0] = kinds[m];
		waiting = 1;
	} while (n == CDP_TIMELINE_MANY && depth_of(&chains) < funnel->n_steps);
	return depth_of(&chains);
}
