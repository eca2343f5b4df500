/* Definitions that the scanners of JSON strings and of JSON numbers share. */
#ifndef LOADGEN_JSON_CHARACTER_H
#define LOADGEN_JSON_CHARACTER_H

typedef const unsigned char *Text;

#define INLINE static inline __attribute__((always_inline))
#define DIGIT(c) ((unsigned char)((c) - '0') < 10)

#endif
