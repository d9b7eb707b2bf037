/*
 * properties.h
 *		Private to profile: the properties that timelines carry along.
 */
#ifndef CDP_PROPERTIES_H
#define CDP_PROPERTIES_H

#include "profile/profile.h"
#include "profile/timeline_text.h"

#define CDP_PROPERTY_MAX_BYTES 256 /* of a string; a longer one is not carried */

/* A row of cdp.property. */
typedef struct CdpDeclaredProperty
{
	CdpWord name;
	CdpWord event; /* without text: of all events */
} CdpDeclaredProperty;

typedef struct CdpDeclared
{
	CdpDeclaredProperty *items; /* by name */
	int n;
} CdpDeclared;

/* What is declared, by the generation of the rules that are in force. */
extern const CdpDeclared *cdp_properties_declared(uint64 generation);

/* What a message of an event carries along: written to as many values as are declared; returns how many. */
extern int cdp_properties_carried(const CdpDeclared *declared, const CdpWord *event, Jsonb *message, CdpNamedValue *values);

#endif
