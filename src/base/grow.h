/*
 * grow.h
 *		Lists of which nobody knows how long they become.
 */
#ifndef CDP_GROW_H
#define CDP_GROW_H

#include "postgres.h"
#include "utils/memutils.h"

/* Make room for one more item of an array of n in a context; it doubles, and has room for some at first. */
#define CDP_GROW_IN(context, array, n, capacity, least)                                                                \
	do                                                                                                                 \
	{                                                                                                                  \
		if ((n) == (capacity))                                                                                         \
		{                                                                                                              \
			(capacity) = Max(least, 2 * (capacity));                                                                   \
			(array) = (array) == NULL ? MemoryContextAllocHuge(context, sizeof(*(array)) * (Size) (capacity))          \
									  : repalloc_huge(array, sizeof(*(array)) * (Size) (capacity));                    \
		}                                                                                                              \
	} while (0)

/* The same in the current context. */
#define CDP_GROW(array, n, capacity, least) CDP_GROW_IN(CurrentMemoryContext, array, n, capacity, least)

#endif
