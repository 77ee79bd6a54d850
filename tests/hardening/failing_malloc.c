/* An allocator that fails when it is told to, and counts what is alive. Loaded first, by LD_PRELOAD; with
 * PYTHONMALLOC=malloc every object and every array that Python makes comes from here. For one thread. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What failing.py reads and sets: while armed, the at-th allocation fails (0: none), and with onward all after it; seen
 * and failed count since it was armed, blocks are those that are alive. */
struct {
  long armed, at, onward, seen, failed, blocks;
} failing;

/* CPython 3.11 tries again without end where it cannot allocate the number of the line that a handler comes back to. After
 * so many failures in a row there is memory again. */
enum { LONGEST = 1 << 14 };

/* The last failure, and who asked for that memory, where a process can read it whose fork has died of it. */
enum { DEPTH = 48 };
struct {
  long at, onward, depth;
  void *stack[DEPTH];
} *last;

static struct {
  void *(*malloc)(size_t);
  void *(*calloc)(size_t, size_t);
  void *(*realloc)(void *, size_t);
  void *(*memalign)(size_t, size_t);
  void (*free)(void *);
} next;

/* Until every library is set up (dlsym and a sanitizer's runtime allocate before), memory comes from here for good. */
static _Alignas(64) char early[1 << 20];
static size_t early_used;

static void *early_block(size_t size) {
  void *block = early + early_used;
  early_used += (size + 63) / 64 * 64;
  if (early_used > sizeof early)
    abort();
  return block;
}

static int is_early(const void *block) { return (const char *)block >= early && (const char *)block < early + sizeof early; }

static int ready(void) { return next.free != NULL; }

__attribute__((constructor)) static void find(void) {
  next.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
  next.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
  next.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
  next.memalign = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "memalign");
  void *stack[1];
  backtrace(stack, 1); /* which allocates the first time */
  last = mmap(NULL, sizeof *last, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (last == MAP_FAILED)
    abort();
  next.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
}

static int fails(void) {
  if (!failing.armed)
    return 0;
  failing.seen++;
  if (failing.at == 0 || failing.seen < failing.at || failing.failed >= LONGEST ||
      (failing.seen > failing.at && !failing.onward))
    return 0;
  if (failing.failed++ == 0) {
    last->at = failing.at;
    last->onward = failing.onward;
    last->depth = backtrace(last->stack, DEPTH);
  }
  errno = ENOMEM;
  return 1;
}

static void *alive(void *block) {
  failing.blocks += block != NULL;
  return block;
}

void *malloc(size_t size) {
  if (!ready())
    return early_block(size);
  return fails() ? NULL : alive(next.malloc(size));
}

void *calloc(size_t count, size_t size) {
  if (!ready())
    return early_block(count * size);
  return fails() ? NULL : alive(next.calloc(count, size));
}

void *realloc(void *block, size_t size) {
  if (block == NULL)
    return malloc(size);
  if (is_early(block)) {
    void *moved = malloc(size);
    if (moved) {
      const size_t left = (size_t)(early + sizeof early - (const char *)block);
      memcpy(moved, block, size < left ? size : left); /* perhaps more than it had */
    }
    return moved;
  }
  if (fails())
    return NULL;
  void *moved = next.realloc(block, size);
  failing.blocks -= moved == NULL && size == 0;
  return moved;
}

void *memalign(size_t alignment, size_t size) {
  if (!ready())
    abort();
  return fails() ? NULL : alive(next.memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
  void *made = memalign(alignment, size);
  if (made == NULL)
    return ENOMEM;
  *block = made;
  return 0;
}

void free(void *block) {
  if (block == NULL || is_early(block) || !ready())
    return;
  failing.blocks--;
  next.free(block);
}
