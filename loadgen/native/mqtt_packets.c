/* The lane of an MQTT connection: takes PUBLISH packets that carry our stamp (MQTT 5, 3.3; MQTT 3.1.1, 3.3).

   It takes a packet only if `loadgen.protocol.mqtt.session` would record exactly the same row for it and send the
   same PUBACK. All other packets are left to the Python code: duplicates, retained messages, messages with QoS 2,
   and those with a property that is rare or changes the topic. */
#include <string.h>

#include "lane.h"

#define PUBLISH 0x30
#define QOS_1 0x02
/* A packet with more bytes than this is left to Python before all of it has arrived, since Python may refuse it. */
#define JOINED_BYTES_MAX 65535
#define TOPIC_SEPARATOR '/'

/* Identifiers of properties (MQTT 5, 2.2.2.2). */
enum { PAYLOAD_FORMAT = 0x01, EXPIRY = 0x02, CONTENT_TYPE = 0x03, SUBSCRIPTION_ID = 0x0b, USER_PROPERTY = 0x26 };

typedef const unsigned char *Text;

typedef struct {
    Lane lane;     /* `names` are topics without wildcards */
    Names filters; /* the text before `#` of wildcard subscriptions; it ends in a separator */
    unsigned char properties; /* 1 if packets have properties, as in MQTT 5 */
} PacketFastPath;

/* Reads a variable byte integer (MQTT 5, 1.5.5). Returns the number of its bytes, 0 if it is malformed, or -1 if it is
   incomplete. */
static int variable(Text at, Text end, size_t *value) {
    *value = 0;
    for (int bytes = 0; bytes < 4; bytes++) {
        if (at + bytes == end) return -1;
        *value |= (size_t)(at[bytes] & 0x7f) << 7 * bytes;
        /* An integer that is not encoded in the fewest possible bytes is malformed. */
        if (at[bytes] < 0x80) return bytes > 0 && at[bytes] == 0 ? 0 : bytes + 1;
    }
    return 0;
}

/* Skips a string of printable ASCII; returns NULL if it contains other characters or is incomplete. */
static Text plain_string(Text at, Text end) {
    if (end - at < 2) return NULL;
    Text stop = at + 2 + (at[0] << 8 | at[1]);
    if (stop > end) return NULL;
    for (at += 2; at < stop; at++) {
        if (*at < 0x20 || *at > 0x7e) return NULL;
    }
    return stop;
}

/* Returns 1 if the fast path can ignore the properties in the text, since none of them affects the row. */
static int are_plain(Text at, Text end) {
    unsigned seen = 0;
    while (at < end) {
        unsigned char kind = *at++;
        size_t number;
        int bytes;
        switch (kind) {
            case PAYLOAD_FORMAT:
                if (end - at < 1 || *at++ > 1) return 0;
                break;
            case EXPIRY:
                if (end - at < 4) return 0;
                at += 4;
                break;
            case CONTENT_TYPE:
                if ((at = plain_string(at, end)) == NULL) return 0;
                break;
            case SUBSCRIPTION_ID:
                bytes = variable(at, end, &number);
                if (bytes <= 0 || number == 0) return 0;
                at += bytes;
                continue; /* this property may occur more than once */
            case USER_PROPERTY:
                if ((at = plain_string(at, end)) == NULL || (at = plain_string(at, end)) == NULL) return 0;
                continue;
            default:
                return 0;
        }
        if (seen >> kind & 1) return 0;
        seen |= 1u << kind;
    }
    return 1;
}

/* Returns the subscription to the topic itself. If there is none, returns the wildcard subscription with the longest
   matching filter, or NULL if none matches. `topics.Subscriptions` finds the same one. */
static const Name *subscription_of(const PacketFastPath *self, Text topic, size_t length) {
    const Name *found = names_find(&self->lane.names, topic, length);
    if (found != NULL || names_are_none(&self->filters)) return found;
    for (size_t at = 0; at < length; at++) {
        if (topic[at] < 0x20 || topic[at] > 0x7e) return NULL;
    }
    for (; length > 0; length--) {
        if (topic[length - 1] == TOPIC_SEPARATOR && (found = names_find(&self->filters, topic, length)) != NULL) break;
    }
    return found;
}

static Py_ssize_t packet_unit(Lane *lane, Text at, Text end, Unit *unit) {
    Text begin = at;
    int qos_1 = *at == (PUBLISH | QOS_1);
    if (!qos_1 && *at != PUBLISH) return LANE_DECLINED;
    size_t size;
    int bytes = variable(++at, end, &size);
    if (bytes < 0) return LANE_INCOMPLETE;
    if (bytes == 0) return LANE_DECLINED;
    at += bytes;
    if (size > (size_t)(end - at)) return size <= JOINED_BYTES_MAX ? LANE_INCOMPLETE : LANE_DECLINED;
    end = at + size;

    if (end - at < 2) return LANE_DECLINED;
    size_t length = (size_t)(at[0] << 8 | at[1]);
    at += 2;
    if (length == 0 || length > (size_t)(end - at)) return LANE_DECLINED;
    const Name *subscription = subscription_of((const PacketFastPath *)lane, at, length);
    if (subscription == NULL || !subscription->known) return LANE_DECLINED;
    unit->number = subscription->number;
    at += length;

    if (qos_1) {
        if (end - at < 2) return LANE_DECLINED;
        unit->acknowledged = (uint16_t)(at[0] << 8 | at[1]);
        if (unit->acknowledged == 0) return LANE_DECLINED;
        at += 2;
    }
    if (((const PacketFastPath *)lane)->properties) {
        bytes = variable(at, end, &size);
        if (bytes <= 0) return LANE_DECLINED;
        at += bytes;
        if (size > (size_t)(end - at) || !are_plain(at, at + size)) return LANE_DECLINED;
        at += size;
    }
    return lane_event(lane, at, end, unit) ? end - begin : LANE_DECLINED;
}

/* --- the Python type --- */

static PyObject *packets_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rows", "tokens", "first", "properties", NULL};
    PyObject *rows, *tokens;
    int first = 0, properties = 1;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!O!|ip", names, &RowsType, &rows, &PyTuple_Type, &tokens, &first, &properties)) {
        return NULL;
    }
    Lane *self = lane_new(type, rows, tokens, first);
    if (self == NULL) return NULL;
    self->unit = packet_unit;
    ((PacketFastPath *)self)->properties = (unsigned char)properties;
    return (PyObject *)self;
}

static void packets_dealloc(PyObject *object) {
    names_free(&((PacketFastPath *)object)->filters);
    lane_dealloc(object);
}

static PyObject *packets_add_below(PyObject *object, PyObject *arguments) {
    return lane_enter((Lane *)object, &((PacketFastPath *)object)->filters, arguments);
}

static PyMethodDef packets_methods[] = {
    {"add_below", packets_add_below, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject PacketFastPathType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.PacketFastPath",
    .tp_basicsize = sizeof(PacketFastPath),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_base = &LaneType,
    .tp_new = packets_new,
    .tp_dealloc = packets_dealloc,
    .tp_traverse = lane_traverse,
    .tp_methods = packets_methods,
};
