/* Planted bugs. The tests of hardening build the core with EI_CANARIES and ask for one bug by its name in the environment
 * variable EI_CANARY: a check that does not find it has lost its eyes. In every other build none of them is compiled. */
#ifndef EI_CANARY_H
#define EI_CANARY_H

#ifdef EI_CANARIES
#include <stdlib.h>
#include <string.h>

static inline int ei_canary(const char *name) {
  const char *asked = getenv("EI_CANARY");
  return asked && strcmp(asked, name) == 0;
}
#define EI_CANARY(name) ei_canary(name)
#else
#define EI_CANARY(name) ((void)(name), 0)
#endif

#endif
