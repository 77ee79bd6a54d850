/* How fast a step could be on this machine, and how fast the C core's is: `make roofline`.
 *
 *   roofline [--json] [--isa NAME] [--core N] [--rounds N] [INPUT,HIDDEN ...]
 *
 * Per instruction set: the rate of fused multiply-adds in registers; the bandwidth of reading each level of the
 * memory; the latency of a cell with nothing to sum. From these, for a cell followed by Dense(1),
 *
 *   floor = max(MACs / FMA rate, bytes / bandwidth of where the weights lie) + chain latency
 *
 * Weights that fit into L1 are read at L1's bandwidth. Larger ones lie in two or three levels at once if they are
 * walked to and fro, since each keeps the end of the last walk; their bandwidth is that of reading as many bytes in
 * this way, the faster of two. Counting all bytes at the bandwidth of the level that they fit into (the last column)
 * gives up to twice the time that the core takes, which is no floor.
 *
 * and beside it the same step of the core. All are measured in rounds by turns on one core; the table has medians. */
#if defined(__linux__)
#define _GNU_SOURCE
#include <sched.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core.h"
#include "isa.h"
#include "programs.h"
#include "roofline.h"

#define ROUND_NS 1e6 /* one measurement; short, so that a median leaves interruptions out */
#define DEFAULT_ROUNDS 31
#define MAX_ROUNDS 1001
#define MAX_SIZES 64
#define LEVEL_SHARE 0.75       /* of a level, so that what else is in it does not push the reader's own lines out */
#define LARGEST_READ (4 << 20) /* of a cache: weights are far smaller, and a last level is shared with others */
#define MEMORY_READ (128 << 20)
/* Floats in which weights that L1 cannot hold are walked to and fro. Which is faster depends on the size, the vectors
 * and the prefetchers; the faster counts. */
static const int64_t pieces[] = {ROOFLINE_READ, 16 * ROOFLINE_READ};
#define PIECES 2

#ifndef BUILD_FLAGS
#define BUILD_FLAGS "unknown flags"
#endif
#define FORMULA "max(MACs / FMA rate, bytes / bandwidth of where the weights lie) + chain latency"

volatile float roofline_sink;

static const roofline_probes *const all_probes[] = {
#if EI_X86
    &roofline_avx512,
    &roofline_avx2,
#endif
#if EI_AARCH64
    &roofline_neon,
#endif
    &roofline_generic,
};
#define PROBES ((int)(sizeof all_probes / sizeof all_probes[0]))

static const size default_sizes[] = {{1, 16}, {1, 32}, {8, 64}, {10, 50}, {16, 128}, {32, 256}, {64, 512}};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* --- the machine ------------------------------------------------------------------------------------------------ */

typedef struct level {
    const char *name;
    int64_t bytes, read_floats;
    const float *data;
} level;

#define LEVELS 4 /* L1d, L2, L3 where there is one, memory */

static int64_t read_line(const char *path, char *line, int length)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    const int read = fgets(line, length, file) != NULL;
    fclose(file);
    line[strcspn(line, "\n")] = 0;
    return read;
}

/* The size of a data or unified cache as Linux's sysfs gives it, 0 where it does not. */
static int64_t cache_from_sysfs(int core, int wanted)
{
    for (int index = 0; index < 8; index++) {
        char path[128], line[64];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/level", core, index);
        if (!read_line(path, line, sizeof line))
            return 0;
        if (atoi(line) != wanted)
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/type", core, index);
        if (!read_line(path, line, sizeof line) || strcmp(line, "Instruction") == 0)
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/size", core, index);
        char unit = 0;
        long number = 0;
        if (read_line(path, line, sizeof line) && sscanf(line, "%ld%c", &number, &unit) >= 1)
            return number * (unit == 'K' ? 1024 : unit == 'M' ? 1 << 20 : 1);
    }
    return 0;
}

/* sysfs first: sysconf takes the last level of the whole package for what a virtual machine has. */
static int64_t cache_bytes(int core, int wanted)
{
    const int64_t found = cache_from_sysfs(core, wanted);
    if (found > 0)
        return found;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    static const int names[] = {0, _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
    const long bytes = sysconf(names[wanted]);
    return bytes > 0 ? bytes : 0;
#else
    return 0;
#endif
}

static int find_levels(int core, level *levels)
{
    static const char *const names[] = {"", "L1", "L2", "L3"};
    int count = 0;
    for (int k = 1; k <= 3; k++) {
        const int64_t bytes = cache_bytes(core, k);
        if (bytes <= 0)
            continue;
        const double share = LEVEL_SHARE * (double)bytes;
        const int64_t read = share < LARGEST_READ ? (int64_t)share : LARGEST_READ;
        levels[count++] = (level){.name = names[k], .bytes = bytes, .read_floats = read / 4};
    }
    levels[count++] = (level){.name = "memory", .bytes = INT64_MAX, .read_floats = MEMORY_READ / 4};
    for (int k = 0; k < count; k++) {
        levels[k].read_floats -= levels[k].read_floats % ROOFLINE_READ;
        levels[k].data = random_floats((size_t)levels[k].read_floats * sizeof(float));
    }
    return count;
}

static const char *cpu_model(void)
{
    static char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            fclose(file);
            line[strcspn(line, "\n")] = 0;
            return strchr(line, ':') + 2;
        }
    if (file != NULL)
        fclose(file);
    return read_line("/sys/firmware/devicetree/base/model", line, sizeof line) ? line : "unknown CPU";
}

/* Stays on one core: the one asked for, or the present one. Gives it, or -1 where the system cannot. */
static int pin(int core)
{
#if defined(__linux__)
    cpu_set_t set;
    if (core < 0)
        core = sched_getcpu();
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof set, &set) == 0)
        return core;
    fprintf(stderr, "roofline: cannot stay on core %d\n", core);
    exit(2);
#else
    return -1;
#endif
}

/* --- measuring -------------------------------------------------------------------------------------------------- */

enum { FMA, READ, CHAIN, STEP };

/* One thing that is timed in every round. `times` is set so that it takes about ROUND_NS. */
typedef struct measurement {
    int kind, cell;
    const roofline_probes *probes;
    const float *data;
    int64_t floats, piece;
    program program;
    int64_t times;
    double unit[MAX_ROUNDS]; /* ns per MAC, per byte, or per step */
} measurement;

/* Does it `times` times. Gives how many units that was. */
static double perform(measurement *m, int64_t times)
{
    if (m->kind == FMA)
        return m->probes->fma(times);
    if (m->kind == READ)
        return m->probes->read(m->data, m->floats, times, m->piece);
    if (m->kind == CHAIN) {
        m->probes->chain(m->cell, times);
    } else {
        run_program(&m->program, times);
    }
    return (double)times;
}

static void calibrate(measurement *m)
{
    for (m->times = 1;; m->times *= 2) {
        const double start = now_ns();
        perform(m, m->times);
        if (now_ns() - start >= ROUND_NS / 2)
            return;
    }
}

static void measure(measurement *m, int round)
{
    perform(m, m->times / 8 + 1); /* what other measurements pushed out of the caches comes back */
    const double start = now_ns();
    const double units = perform(m, m->times);
    m->unit[round] = (now_ns() - start) / units;
}

static double median(measurement *m, int rounds)
{
    qsort(m->unit, (size_t)rounds, sizeof m->unit[0], by_value);
    return rounds % 2 ? m->unit[rounds / 2] : (m->unit[rounds / 2 - 1] + m->unit[rounds / 2]) / 2;
}

/* --- the table -------------------------------------------------------------------------------------------------- */

typedef struct options {
    int json, core, rounds, count;
    const char *isa;
    size sizes[MAX_SIZES];
} options;

typedef struct row {
    int cell;
    size size;
    int64_t macs, bytes;
    const char *level;        /* that the weights fit into */
    struct measurement *read; /* L1's, or the first of PIECES */
    double macs_ns, bytes_ns, chain_ns, floor_ns, step_ns;
    double level_floor_ns; /* the floor if all bytes came from that level */
} row;

static row new_row(int cell, size s, const level *levels)
{
    row r = {.cell = cell, .size = s};
    r.macs = cell_gates[cell] * s.hidden * (s.inputs + s.hidden) + s.hidden;
    r.bytes = (r.macs + cell_bias_rows[cell] * s.hidden + 1) * (int64_t)sizeof(float);
    while (r.bytes > levels->bytes)
        levels++;
    r.level = levels->name;
    return r;
}

static void print_rates(const options *o, const char *isa, double fma, const level *levels, int level_count,
                        const double *read, const double *chain)
{
    if (o->json) {
        printf("{\"isa\": \"%s\", \"macs_per_ns\": %.6g, \"bytes_per_ns\": {", isa, 1 / fma);
        for (int k = 0; k < level_count; k++)
            printf("%s\"%s\": %.6g", k ? ", " : "", levels[k].name, 1 / read[k]);
        printf("}, \"steps\": [");
        return;
    }
    printf("\n%s: %.1f MACs/ns; read ", isa, 1 / fma);
    for (int k = 0; k < level_count; k++)
        printf("%s %.1f%s", levels[k].name, 1 / read[k], k + 1 < level_count ? ", " : " bytes/ns; chain ");
    for (int k = 0; k < CELLS; k++)
        printf("%s %.1f%s", cell_names[k], chain[k], k + 1 < CELLS ? ", " : " ns\n\n");
    printf("%-5s %9s %9s %6s %9s %9s %7s %9s %9s %10s %10s\n", "cell", "in,hidden", "KiB", "level", "MACs ns",
           "bytes ns", "chain", "floor ns", "step ns", "step/floor", "/by level");
}

static void print_row(const options *o, int first, const row *r)
{
    const char *cell = cell_names[r->cell];
    const long long inputs = r->size.inputs, hidden = r->size.hidden;
    if (o->json) {
        printf("%s\n  {\"cell\": \"%s\", \"input\": %lld, \"hidden\": %lld, \"macs\": %lld, \"bytes\": %lld, "
               "\"level\": \"%s\", \"macs_ns\": %.6g, \"bytes_ns\": %.6g, \"chain_ns\": %.6g, \"floor_ns\": %.6g, "
               "\"step_ns\": %.6g, \"step_over_floor\": %.6g, \"level_floor_ns\": %.6g}",
               first ? "" : ",", cell, inputs, hidden, (long long)r->macs, (long long)r->bytes, r->level, r->macs_ns,
               r->bytes_ns, r->chain_ns, r->floor_ns, r->step_ns, r->step_ns / r->floor_ns, r->level_floor_ns);
        return;
    }
    char name[48];
    snprintf(name, sizeof name, "%lld,%lld", inputs, hidden);
    printf("%-5s %9s %9.1f %6s %9.1f %9.1f %7.1f %9.1f %9.1f %10.2f %10.2f\n", cell, name, (double)r->bytes / 1024,
           r->level, r->macs_ns, r->bytes_ns, r->chain_ns, r->floor_ns, r->step_ns, r->step_ns / r->floor_ns,
           r->step_ns / r->level_floor_ns);
}

static void run(const options *o, const roofline_probes *probes, const level *levels, int level_count)
{
    const ei_core *core = ei_core_find(probes->name);
    const int rows = CELLS * o->count;
    measurement *all = calloc((size_t)(1 + level_count + CELLS + (1 + PIECES) * rows), sizeof *all), *fma = all,
                *reads = fma + 1, *chains = reads + level_count, *steps = chains + CELLS, *end = steps + rows;
    row *table = calloc((size_t)rows, sizeof *table);
    if (all == NULL || table == NULL)
        exit(1);
    *fma = (measurement){.kind = FMA, .probes = probes};
    for (int k = 0; k < level_count; k++)
        reads[k] = (measurement){.kind = READ,
                                 .probes = probes,
                                 .data = levels[k].data,
                                 .floats = levels[k].read_floats,
                                 .piece = levels[k].read_floats};
    for (int cell = 0; cell < CELLS; cell++)
        chains[cell] = (measurement){.kind = CHAIN, .probes = probes, .cell = cell};
    for (int k = 0; k < rows; k++) {
        table[k] = new_row(k / o->count, o->sizes[k % o->count], levels);
        steps[k] = (measurement){.kind = STEP, .program = new_program(core, table[k].cell, table[k].size)};
        table[k].read = reads;
        if (table[k].bytes <= levels[0].bytes)
            continue;
        table[k].read = end;
        const float *weights = (const float *)(const void *)steps[k].program.bases[WEIGHTS];
        for (int i = 0; i < PIECES; i++) {
            const int64_t floats = table[k].bytes / (int64_t)sizeof(float) / pieces[i] * pieces[i];
            *end++ =
                (measurement){.kind = READ, .probes = probes, .data = weights, .floats = floats, .piece = pieces[i]};
        }
    }
    for (measurement *m = all; m < end; m++)
        calibrate(m);
    for (int round = 0; round < o->rounds; round++)
        for (measurement *m = all; m < end; m++)
            measure(m, round);

    double read[LEVELS], chain[CELLS];
    const double fma_ns = median(fma, o->rounds);
    for (int k = 0; k < level_count; k++)
        read[k] = median(&reads[k], o->rounds);
    for (int cell = 0; cell < CELLS; cell++)
        chain[cell] = median(&chains[cell], o->rounds);
    print_rates(o, probes->name, fma_ns, levels, level_count, read, chain);
    for (int k = 0; k < rows; k++) {
        row *r = &table[k];
        r->macs_ns = (double)r->macs * fma_ns;
        double byte_ns = median(r->read, o->rounds);
        for (int i = 1; i < PIECES && r->read != reads; i++) {
            const double other = median(r->read + i, o->rounds);
            byte_ns = other < byte_ns ? other : byte_ns;
        }
        r->bytes_ns = (double)r->bytes * byte_ns;
        r->chain_ns = chain[r->cell];
        r->floor_ns = (r->macs_ns > r->bytes_ns ? r->macs_ns : r->bytes_ns) + r->chain_ns;
        int at = 0;
        while (levels[at].name != r->level)
            at++;
        const double level_ns = (double)r->bytes * read[at];
        r->level_floor_ns = (r->macs_ns > level_ns ? r->macs_ns : level_ns) + r->chain_ns;
        r->step_ns = median(&steps[k], o->rounds);
        print_row(o, k == 0, r);
        free_program(&steps[k].program);
    }
    if (o->json)
        printf("]}");
    free(table);
    free(all);
}

/* --- the command line ------------------------------------------------------------------------------------------- */

static void usage(const char *problem, const char *what)
{
    fprintf(stderr,
            "roofline: %s%s\nusage: roofline [--json] [--isa NAME] [--core N] [--rounds N] [INPUT,HIDDEN ...]"
            "\n",
            problem, what);
    exit(2);
}

static long number(const char *text, long most)
{
    char *end;
    const long value = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || value < 0 || value > most)
        usage("not a number in range: ", text);
    return value;
}

static options parse(int argc, char **argv)
{
    options o = {.core = -1, .rounds = DEFAULT_ROUNDS};
    for (int k = 1; k < argc; k++) {
        const int more = k + 1 < argc;
        long long inputs, hidden;
        char rest;
        if (strcmp(argv[k], "--json") == 0)
            o.json = 1;
        else if (strcmp(argv[k], "--isa") == 0 && more)
            o.isa = argv[++k];
        else if (strcmp(argv[k], "--core") == 0 && more)
            o.core = (int)number(argv[++k], 4095);
        else if (strcmp(argv[k], "--rounds") == 0 && more)
            o.rounds = (int)number(argv[++k], MAX_ROUNDS);
        else if (sscanf(argv[k], "%lld,%lld%c", &inputs, &hidden, &rest) == 2 && inputs > 0 && hidden > 0 &&
                 inputs <= 65536 && hidden <= 65536 && o.count < MAX_SIZES)
            o.sizes[o.count++] = (size){inputs, hidden};
        else
            usage("cannot read ", argv[k]);
    }
    if (o.rounds == 0)
        usage("at least one round", "");
    if (o.isa != NULL && ei_core_find(o.isa) == NULL)
        usage("this machine cannot run the core ", o.isa);
    if (o.count == 0)
        for (; o.count < (int)(sizeof default_sizes / sizeof default_sizes[0]); o.count++)
            o.sizes[o.count] = default_sizes[o.count];
    return o;
}

int main(int argc, char **argv)
{
    const options o = parse(argc, argv);
    const int core = pin(o.core);
    level levels[LEVELS];
    const int level_count = find_levels(core < 0 ? 0 : core, levels);
    printf(o.json ? "{\"cpu\": \"%s\", \"compiler\": \"%s\", \"flags\": \"%s\", \"core\": %d, \"rounds\": %d, "
                  : "%s; %s; %s; core %d; medians of %d rounds; ",
           cpu_model(), COMPILER, BUILD_FLAGS, core, o.rounds);
    if (o.json)
        printf("\"formula\": \"%s\", \"cache_bytes\": {", FORMULA);
    for (int k = 0; k + 1 < level_count; k++)
        printf(o.json ? "%s\"%s\": %lld" : "%s%s %lld KiB", k ? ", " : "", levels[k].name,
               (long long)levels[k].bytes / (o.json ? 1 : 1024));
    printf(o.json ? "}, \"isas\": [\n" : "\nfloor = " FORMULA "\n");
    int first = 1;
    for (int k = 0; k < PROBES; k++) {
        const char *name = all_probes[k]->name;
        if (ei_core_find(name) == NULL || (o.isa != NULL && strcmp(name, o.isa) != 0))
            continue;
        if (o.json && !first)
            printf(",\n");
        first = 0;
        run(&o, all_probes[k], levels, level_count);
        fflush(stdout);
    }
    if (o.json)
        printf("]}\n");
    for (int k = 0; k < level_count; k++) {
        union {
            const float *from;
            void *to;
        } data = {levels[k].data};
        free(data.to);
    }
    return 0;
}
