/* Instructions of the C core out of a fuzzer's bytes, each operand in memory of its own of exactly the size that core.h
 * gives it: the address sanitizer sees the first byte read or written beside one. */
#ifndef EI_FUZZ_PROGRAM_H
#define EI_FUZZ_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "core.h"

enum { OUT0 = EI_INS, OPERANDS = EI_INS + EI_OUTS };

/* One instruction, whose operand k has base k. */
typedef struct program {
    ei_instr code;
    char *bases[OPERANDS];
    size_t bytes[OPERANDS];   /* of the memory at that base */
    size_t written[EI_OUTS];  /* how many bytes of an output it writes */
    ei_status expected;
    int faulty; /* a field has a value that core.h does not know: EI_BAD_PROGRAM, or EI_OK where there is nothing to do */
} program;

/* The bytes of one input. All that is drawn past their end is 0. */
void begin(const uint8_t *data, size_t size);
/* One of [0, below). */
int64_t number(int64_t below);
/* A size: often 0, 1, or near a whole number of vectors. */
int64_t size_up_to(int64_t most);
const ei_core *any_core(void);
int has_vnni(const ei_core *core);

/* `shift` bytes past a multiple of EI_ALIGN. All of it is freed by release(). */
char *memory(size_t bytes, size_t shift);
void release(void);
/* Floats of a kind that the bytes choose: small, of any bits, or special. */
void fill_floats(char *at, int64_t count);

void make_program(program *p, const ei_core *core);

/* A cell of dim as core.h has it: what each of its operands takes. cell: EI_OP_LSTM to EI_OP_RNN. */
int64_t padded(int64_t count, int64_t to);
int64_t cell_weights_bytes(int cell, int linear, int64_t inputs, int64_t hidden, int64_t lanes);
int64_t small_cell_bytes(int cell, int linear, int kind, int64_t inputs, int64_t hidden, int64_t lanes);
int64_t gate_row_floats(int cell, int linear, int64_t hidden, int64_t lanes);
int64_t dense_bytes(int64_t inputs, int64_t columns, int64_t lanes);
int64_t small_dense_bytes(int kind, int64_t inputs, int64_t columns, int64_t lanes);
/* Weights of that many bytes, valid for the arithmetic: 0 for float32, else ei_weights. */
char *packed_weights(int64_t bytes, int kind);

/* Ends the process, which is how a fuzzer is told. */
_Noreturn void finding(const char *what, const ei_instr *code);

#endif
