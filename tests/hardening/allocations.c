/* Counts what a thread asks of the allocator, by LD_PRELOAD. Other threads, as those that onnxruntime starts when it is
 * imported, allocate when they like. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

static _Thread_local __attribute__((tls_model("initial-exec"))) long calls;
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
