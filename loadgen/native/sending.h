/* Functions for sending publishes: write numbers, masks and frame headers. */
#ifndef LOADGEN_SENDING_H
#define LOADGEN_SENDING_H

#include "native.h"

#define DIGITS_MAX 20
/* Size of the text of two numbers, each with a comma before it. */
#define PAIR_MAX (2 * DIGITS_MAX + 2)
/* Maximum size of a frame's header without the mask, and the size of the mask. */
#define HEADER_MAX 10
#define MASK_BYTES 4

/* Writes a number in decimal digits and returns the position after it. */
char *write_number(char *into, int64_t number);

/* Writes a random mask (RFC 6455, 5.3) to `mask`. Returns -1 with an exception set. */
int next_mask(unsigned char *mask);

/* Writes the header, without the mask, of a frame that is a whole message; returns the header's length. */
size_t write_header(unsigned char *into, long opcode, size_t length);

/* Copies `length` bytes and masks them; `into` and `from` may be equal. */
void write_masked(unsigned char *into, const unsigned char *from, size_t length, const unsigned char *mask);

#endif
