/* The checksum of an event's values, as `loadgen/payloads/integrity.py` computes it; uses no Python API. */
#ifndef LOADGEN_JSON_CANONICAL_H
#define LOADGEN_JSON_CANONICAL_H

#include <stddef.h>
#include <stdint.h>

/* Maximum size of an event in bytes, so that two buffers of this size fit on the stack of any thread. Longer events are
   left to the Python path. */
#define JSON_CANONICAL_BYTES_MAX 16384

/* Prepares the tables of `json_canonical_crc`; call it once before that function. */
void json_canonical_init(void);

/* Computes the CRC-32 of the canonical text of an event, in which null stands in place of the stamp. The stamp
   reaches from `stamp` to `stamp_end`, and the event ends at `end`. The event is the content of a JSON string, and
   `json_stamp_in_string` has found it valid. Returns 0 if the canonical text is not certain: the Python path must
   then compute it. */
int json_canonical_crc(
    const unsigned char *at, const unsigned char *end, const unsigned char *stamp, const unsigned char *stamp_end,
    uint32_t *crc);

#endif
