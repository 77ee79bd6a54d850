#include "isa.h"

#include "vec_generic.h"

#define EI_ISA generic
#define EI_ISA_NAME "generic"
#include "core_body.h"
