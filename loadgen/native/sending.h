/* What is done for each publish that is sent. */
#ifndef LOADGEN_SENDING_H
#define LOADGEN_SENDING_H

#include "native.h"

#define DIGITS_MAX 20
/* Two numbers, and their commas. */
#define PAIR_MAX (2 * DIGITS_MAX + 2)
/* A frame's header without its mask, and the mask. */
#define HEADER_MAX 10
#define MASK_BYTES 4

/* Writes a number in decimal and returns the end of it. */
char *write_number(char *into, int64_t number);

/* Sets the next random mask (RFC 6455, 5.3). Returns -1 with an exception. */
int next_mask(unsigned char *mask);

/* Writes the header of a final frame without its mask, and returns its length. */
size_t write_header(unsigned char *into, long opcode, size_t length);

/* Masks `length` bytes from one place to another, which may be the same. */
void write_masked(unsigned char *into, const unsigned char *from, size_t length, const unsigned char *mask);

#endif
