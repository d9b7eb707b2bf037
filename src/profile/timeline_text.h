/*
 * timeline_text.h
 *		Private to profile: timelines as text and of jsonb.
 */
#ifndef CDP_TIMELINE_TEXT_H
#define CDP_TIMELINE_TEXT_H

#include "profile/timeline.h"
#include "utils/jsonb.h"

/* A JSON array of what the reader has; NULL when its bytes are malformed. */
extern char *cdp_timeline_out_text(CdpTimelineReader *reader);

/* Add the events of a JSON array; false when it is none. */
extern bool cdp_timeline_in_text(CdpTimelineBuilder *builder, const char *text, int length);

typedef enum CdpPropertyFate
{
	CDP_PROPERTY_KEPT,
	CDP_PROPERTY_LEFT_OUT, /* neither a number nor a string nor a boolean */
	CDP_PROPERTY_TOO_LARGE /* a number beyond what a timeline keeps */
} CdpPropertyFate;

/* Make a property, which points into name and value, of a member of an object. */
extern CdpPropertyFate cdp_timeline_property(const JsonbValue *name, const JsonbValue *value, CdpNamedValue *property);

/*
 * The members of an object that a timeline keeps: numbers, strings and booleans.  Returns how many; -1 when
 * it is neither an object nor null.  They point into it.
 */
extern int cdp_timeline_properties(Jsonb *object, CdpNamedValue **properties);

#endif
