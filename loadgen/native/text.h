/* Recognises data of a read that is exactly one text frame, or only whole TLS records. */
#ifndef LOADGEN_TEXT_H
#define LOADGEN_TEXT_H

#include "native.h"

/* Returns the offset of the text if the data is exactly one whole text frame (RFC 6455, 5.2), else 0. */
static inline Py_ssize_t whole_text(const unsigned char *data, Py_ssize_t length) {
    if (length < 2 || data[0] != 0x81) return 0;
    if (data[1] < 126) return data[1] == length - 2 ? 2 : 0;
    return data[1] == 126 && length >= 4 && (data[2] << 8 | data[3]) == length - 4 ? 4 : 0;
}

/* Returns 1 if the data is exactly one whole WebSocket frame of a message, or one whole MQTT PUBLISH (MQTT 5, 3.3). The
   data then needs only one arrival time, that of its last byte. */
static inline int is_whole_message(const unsigned char *data, Py_ssize_t length) {
    if (length >= 4 && data[0] == 0x82) {
        return data[1] < 126 ? data[1] == length - 2 : data[1] == 126 && (data[2] << 8 | data[3]) == length - 4;
    }
    if (length >= 3 && (data[0] & 0xf0) == 0x30) {
        return data[1] < 128 ? data[1] == length - 2 : data[2] < 128 && ((data[1] & 127) | data[2] << 7) == length - 3;
    }
    return whole_text(data, length) > 0;
}

/* Returns the number of TLS records if the data consists only of whole records of application data (RFC 8446, 5.1),
   else 0. */
static inline int whole_records(const unsigned char *data, Py_ssize_t length) {
    int count = 0;
    for (Py_ssize_t at = 0; at < length; count++) {
        if (length - at < 5 || data[at] != 0x17) return 0;
        at += 5 + (data[at + 3] << 8 | data[at + 4]);
        if (at > length) return 0;
    }
    return count;
}

#endif
