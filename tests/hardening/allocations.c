/* Counts what is asked of the allocator, by LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

static long calls;
static void *(*next_malloc)(size_t), *(*next_realloc)(void *, size_t);

long allocations(void) { return calls; }

void *malloc(size_t size) {
  if (!next_malloc) *(void **)&next_malloc = dlsym(RTLD_NEXT, "malloc");
  calls++;
  return next_malloc(size);
}

void *realloc(void *old, size_t size) {
  if (!next_realloc) *(void **)&next_realloc = dlsym(RTLD_NEXT, "realloc");
  calls++;
  return next_realloc(old, size);
}
