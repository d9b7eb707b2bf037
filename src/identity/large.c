/*
 * large.c
 *		Arrays in large pages.
 */
#include "postgres.h"

#include <sys/mman.h>
#include <unistd.h>

#include "identity/large.h"
#include "utils/memutils.h"

#define LARGE (4 * 1024 * 1024)

void *
cdp_large_alloc(MemoryContext context, Size size)
{
	char *memory = MemoryContextAllocHuge(context, size);

	/* the kernel may give them on demand only */
#ifdef MADV_HUGEPAGE
	if (size > LARGE)
	{
		uintptr_t page = sysconf(_SC_PAGESIZE);
		uintptr_t from = TYPEALIGN(page, memory);
		uintptr_t to = TYPEALIGN_DOWN(page, (uintptr_t) memory + size);

		(void) madvise((void *) from, to - from, MADV_HUGEPAGE);
	}
#endif
	return memory;
}

/* Copied, because what repalloc() moves from one place to another stays in the small pages it is in, or comes to be. */
void *
cdp_large_resize(void *old, Size used, Size size)
{
	void *memory = cdp_large_alloc(GetMemoryChunkContext(old), size);

	memcpy(memory, old, used);
	pfree(old);
	return memory;
}
