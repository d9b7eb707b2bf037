/*
 * window.h
 *		Inside the room: a window that moves over events as the clock does.
 *
 * An event at t counts in a window from t + delay until t + expiry, so events enter
 * and leave in the order of their instants, and those that count stand side by side.
 */
#ifndef CDP_WINDOW_H
#define CDP_WINDOW_H

#include "common/int.h"
#include "segment/predicate.h"

#define NEVER DT_NOEND

/* Where the events that count stand among all, and how the window moves over them */
typedef struct CdpSpan
{
	const TimestampTz *times;
	int first; /* of those that count now */
	int last;  /* after them; those up to 'limit' enter later */
	int limit;
	int64 delay;  /* an event counts from so much after its time */
	int64 expiry; /* and until so much after it; < 0: for ever */
} CdpSpan;

/* Add to an instant; what leaves the range of timestamps never comes */
static inline TimestampTz
later(TimestampTz at, int64 microseconds)
{
	TimestampTz result;

	return pg_add_s64_overflow(at, microseconds, &result) ? NEVER : result;
}

/* Count the instants that are not later than one */
static inline int
count_until(const TimestampTz *times, int n, TimestampTz at)
{
	int low = 0;

	while (low < n)
	{
		int middle = low + (n - low) / 2;

		if (times[middle] <= at)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

/* Give the ends of a window as programs keep them */
static inline void
cdp_window_bounds(const CdpWindow *window, int64 *near, int64 *far)
{
	if (window->kind == CDP_ROLLING)
	{
		*near = window->near.microseconds;
		*far = window->far.microseconds;
	}
	else if (window->kind == CDP_ABSOLUTE)
	{
		*near = window->since.text == NULL ? DT_NOBEGIN : window->since.at;
		*far = window->until.text == NULL ? DT_NOEND : window->until.at;
	}
}

/* Find a window's place on events, given by their instants in ascending order */
static inline CdpSpan
cdp_span(CdpWindowKind kind, int64 near, int64 far, const TimestampTz *times, int n, TimestampTz now)
{
	CdpSpan span = {.times = times, .limit = n, .expiry = -1};

	if (kind == CDP_ROLLING)
	{
		span.delay = near;
		span.expiry = far;
		span.first = count_until(times, n, now - far);
	}
	else if (kind == CDP_ABSOLUTE)
	{
		if (far != DT_NOEND)
			span.limit = count_until(times, span.limit, far - 1);
		if (near != DT_NOBEGIN)
			span.first = count_until(times, span.limit, near - 1);
	}
	span.last = Max(span.first, count_until(times, span.limit, now - span.delay));
	return span;
}

/* Move a window to the next instant at which an event enters or leaves, and return it; NEVER: none does */
static inline TimestampTz
cdp_span_step(CdpSpan *span)
{
	TimestampTz at = NEVER;

	if (span->last < span->limit)
		at = later(span->times[span->last], span->delay);
	if (span->expiry >= 0 && span->first < span->last)
		at = Min(at, later(span->times[span->first], span->expiry));
	if (at == NEVER)
		return NEVER;
	while (span->last < span->limit && later(span->times[span->last], span->delay) <= at)
		span->last++;
	while (span->expiry >= 0 && span->first < span->last && later(span->times[span->first], span->expiry) <= at)
		span->first++;
	return at;
}

#endif
