/* Which cores there are, and which of them this CPU and operating system can run. */
#include <string.h>

#include "isa.h"

#if EI_X86
#include <cpuid.h>

/* The state that the operating system saves: bit 1 XMM, bit 2 YMM, bits 5 to 7 the mask registers and ZMM. */
#define EI_XCR0_YMM 0x06u
#define EI_XCR0_ZMM 0xe6u

static uint32_t ei_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static int ei_cpu_has(const ei_core *core)
{
    unsigned eax, ebx, ecx, edx;
    const unsigned needed = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & needed) != needed)
        return 0;
    const uint32_t saved = ei_xcr0();
    if ((saved & EI_XCR0_YMM) != EI_XCR0_YMM)
        return 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & bit_AVX2))
        return 0;
    if (core == &ei_core_avx2)
        return 1;
    return (ebx & bit_AVX512F) != 0 && (saved & EI_XCR0_ZMM) == EI_XCR0_ZMM;
}

#elif EI_AARCH64

#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

/* Linux says whether the CPU has it and its registers are saved; elsewhere it is part of what every program needs. */
static int ei_cpu_has(const ei_core *core)
{
#if defined(__linux__)
    return core == &ei_core_neon && (getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0;
#else
    return core == &ei_core_neon;
#endif
}

#else

static int ei_cpu_has(const ei_core *core)
{
    (void)core;
    return 0;
}

#endif

static const ei_core *const ei_cores[] = {
#if EI_X86
    &ei_core_avx512,
    &ei_core_avx2,
#endif
#if EI_AARCH64
    &ei_core_neon,
#endif
    &ei_core_generic,
};

static const char *const ei_names[] = {
#if EI_X86
    "avx512",  "avx2",
#endif
#if EI_AARCH64
    "neon",
#endif
    "generic", NULL,
};

int ei_core_has_vnni(const ei_core *core)
{
#if EI_X86
    unsigned eax, ebx, ecx, edx;
    return core == &ei_core_avx512 && ei_cpu_has(core) && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) &&
           (ecx & bit_AVX512VNNI) != 0;
#else
    (void)core;
    return 0;
#endif
}

const char *const *ei_core_names(void) { return ei_names; }

const ei_core *ei_core_find(const char *name)
{
    for (size_t k = 0; k < sizeof ei_cores / sizeof ei_cores[0]; k++) {
        const ei_core *core = ei_cores[k];
        if (name != NULL && strcmp(name, core->name) != 0)
            continue;
        if (core == &ei_core_generic || ei_cpu_has(core))
            return core;
    }
    return NULL;
}
