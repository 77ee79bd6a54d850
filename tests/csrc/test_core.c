/* Holds each core that this CPU can run to double-precision references written here from the formulas.
 *
 *   test_core --list     prints the cores that can run, one a line
 *   test_core NAME       checks that core: one line per group, exit code 1 where a group failed
 *   test_core NAME --every-float   checks its activations alone, on all floats: minutes
 */
#include <stdio.h>

#include "harness.h"

static void test_find(void)
{
    const char *const *names = ei_core_names();
    int generic = 0;
    for (; *names != NULL; names++) {
        const ei_core *found = ei_core_find(*names);
        CHECK(found == NULL || strcmp(found->name, *names) == 0, "asked for %s", *names);
        CHECK(found == NULL || (found->lanes >= 1 && found->lanes <= EI_ALIGN / 4), "lanes of %s", *names);
        generic |= strcmp(*names, "generic") == 0;
    }
    CHECK(generic && ei_core_find("generic") != NULL, "generic is missing");
    CHECK(ei_core_find("mmx") == NULL, "an unknown name was found");
    const ei_core *fastest = ei_core_find(NULL);
    for (names = ei_core_names(); ei_core_find(*names) == NULL;)
        names++;
    CHECK(fastest == ei_core_find(*names), "NULL gives %s", fastest->name);
}

static const group core_groups[] = {
    {"cores are found by name", test_find},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    const int every_float = argc == 3 && strcmp(argv[2], "--every-float") == 0;
    if (argc != 2 && !every_float) {
        fprintf(stderr, "usage: test_core --list | NAME [--every-float]\n");
        return 2;
    }
    if (strcmp(argv[1], "--list") == 0) {
        for (const char *const *name = ei_core_names(); *name != NULL; name++)
            if (ei_core_find(*name) != NULL)
                printf("%s\n", *name);
        return 0;
    }
    core = ei_core_find(argv[1]);
    if (core == NULL) {
        fprintf(stderr, "no core %s here\n", argv[1]);
        return 2;
    }
    if (every_float)
        sweep_stride = 1;
    int failed_groups = 0;
    const group *const families[] = {core_groups, activation_groups, recurrent_groups, op_groups, pool_groups, small_groups,
                                     masked_groups, logic_groups};
    for (size_t k = 0; k < sizeof families / sizeof families[0]; k++) {
        if (every_float && families[k] != activation_groups)
            continue;
        for (const group *g = families[k]; g->name != NULL; g++) {
            checks = failures = 0;
            draw_again();
            g->run();
            printf("%s %s: %s (%ld checks, %ld failed)\n", failures ? "FAIL" : "ok  ", core->name, g->name, checks,
                   failures);
            failed_groups += failures > 0;
        }
    }
    return failed_groups > 0;
}
