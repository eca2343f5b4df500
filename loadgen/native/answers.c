/* The fast path for AppSync Events' answers to publishes that accept all events, such as

       {"type":"publish_success","id":"p12","failed":[],"successful":[{"identifier":"b7a0…","index":0}]}

   The members may be in any order, with whitespace between them, and there may be other members. The fast path takes an
   answer only if the Python path would read it in the same way: see `ServerMessage` in protocol/appsync/messages.py.
   Anything else, and whatever is not certainly valid JSON, is left to the Python path. */
#include <string.h>

#include "json_scan.h"
#include "publishes.h"

/* The id of a publish is this letter followed by its number, see `loadgen.users.requests`. */
#define ID_PREFIX 'p'
/* A number of up to this many digits fits into 64 bits. */
#define NUMBER_DIGITS_MAX 18

typedef const unsigned char *Text;
typedef enum { TYPE = 1, ID = 2, FAILED = 4, SUCCESSFUL = 8, OTHER = 16 } Member;

/* If the text continues with the literal, skips it and evaluates to 1; else evaluates to 0. */
#define GOES_ON(literal) \
    ((size_t)(end - at) >= sizeof(literal) - 1 && memcmp(at, literal, sizeof(literal) - 1) == 0 \
         ? (at += sizeof(literal) - 1, 1) \
         : 0)
#define IS(literal) (length == sizeof(literal) - 1 && memcmp(name, literal, sizeof(literal) - 1) == 0)

/* Reads a name and its colon; returns the position of the value. Returns NULL if it cannot be read, or if it contains
   an escape, since an escaped name may equal one of the known names. */
static Text name_of(Text at, Text end, Text *name, size_t *length) {
    at = json_space(at, end);
    if (at == end || *at++ != '"') return NULL;
    int escaped = 0;
    *name = at;
    at = json_string(at, end, &escaped);
    if (at == NULL || escaped) return NULL;
    *length = (size_t)(at - *name) - 1;
    at = json_space(at, end);
    if (at == end || *at++ != ':') return NULL;
    return json_space(at, end);
}

/* Reads a whole number without sign, and returns the position after its last digit. */
static Text number_of(Text at, Text end, int64_t *number) {
    Text begin = at;
    *number = 0;
    while (at < end && *at >= '0' && *at <= '9' && at - begin < NUMBER_DIGITS_MAX) *number = *number * 10 + (*at++ - '0');
    if (at == begin || at == end || (*begin == '0' && at - begin > 1)) return NULL;
    return at;
}

/* Reads the comma between two items of an object or array, or the closing bracket; sets `more` to 0 at the bracket.
   Returns the position after it, or NULL if the text has neither. */
static Text separator(Text at, Text end, unsigned char closing, int *more) {
    at = json_space(at, end);
    if (at == end || (*at != ',' && *at != closing)) return NULL;
    *more = *at == ',';
    return at + 1;
}

/* Skips one entry of the array `successful`; see `SuccessfulEvent`. Returns NULL if the entry is not certainly
   valid. */
static Text entry(Text at, Text end) {
    int more = 1, escaped;
    if (at == end || *at++ != '{') return NULL;
    at = json_space(at, end);
    if (at < end && *at == '}') return at + 1;
    while (at != NULL && more) {
        Text name;
        size_t length;
        if ((at = name_of(at, end, &name, &length)) == NULL) return NULL;
        if (IS("identifier")) {
            if (!GOES_ON("null")) at = GOES_ON("\"") ? json_string(at, end, &escaped) : NULL;
        } else if (IS("index")) {
            int64_t number;
            if (!GOES_ON("null")) at = number_of(at, end, &number);
        } else {
            at = json_value(at, end);
        }
        if (at != NULL) at = separator(at, end, '}', &more);
    }
    return at;
}

/* Skips the rest of the array `successful`, from the position after its opening bracket. */
static Text entries(Text at, Text end) {
    int more = 1;
    at = json_space(at, end);
    if (at < end && *at == ']') return at + 1;
    while (at != NULL && more) {
        at = entry(json_space(at, end), end);
        if (at != NULL) at = separator(at, end, ']', &more);
    }
    return at;
}

/* Returns the number of the publish whose success a message reports, or -1 if the message may be anything else. */
static int64_t answered(Text at, Text end) {
    int seen = 0, more = 1;
    int64_t number = -1;
    at = json_space(at, end);
    if (at == end || *at++ != '{') return -1;
    while (more) {
        Text name;
        size_t length;
        if ((at = name_of(at, end, &name, &length)) == NULL) return -1;
        Member member = IS("type")         ? TYPE
                        : IS("id")         ? ID
                        : IS("failed")     ? FAILED
                        : IS("successful") ? SUCCESSFUL
                                           : OTHER;
        /* Leave a repeated member to the Python path, which decides which of the two values counts. */
        if (member != OTHER && seen & member) return -1;
        seen |= member;
        switch (member) {
            case TYPE:
                if (!GOES_ON("\"publish_success\"")) return -1;
                break;
            case ID:
                if (!GOES_ON("\"") || at == end || *at++ != ID_PREFIX) return -1;
                if ((at = number_of(at, end, &number)) == NULL || *at++ != '"') return -1;
                break;
            case FAILED:
                if (!GOES_ON("[")) return -1;
                at = json_space(at, end);
                if (!GOES_ON("]")) return -1;
                break;
            case SUCCESSFUL:
                if (!GOES_ON("[") || (at = entries(at, end)) == NULL) return -1;
                break;
            default:
                /* `event`, `errors` and `connectionTimeoutMs` belong to other messages. Leave the message to the Python
                   path, which checks their values. */
                if (IS("event") || IS("errors") || IS("connectionTimeoutMs")) return -1;
                if ((at = json_value(at, end)) == NULL) return -1;
        }
        if ((at = separator(at, end, '}', &more)) == NULL) return -1;
    }
    if (json_space(at, end) != end || (seen & (TYPE | ID)) != (TYPE | ID)) return -1;
    return number;
}

int answers_take(PublishLane *lane, const unsigned char *text, Py_ssize_t length, int64_t arrival_ns) {
    int64_t number = answered(text, text + length);
    if (number < 0) return 0;
    PublishRows *rows = lane->rows;
    pthread_mutex_lock(&rows->lock);
    OpenPublish *publish = lane_remove(lane, number, 0);
    if (publish != NULL) {
        publish->acked_ns = arrival_ns;
        publish->next = NULL;
        *rows->settled_end = publish;
        rows->settled_end = &publish->next;
        rows->settled_events += publish->count;
    }
    pthread_mutex_unlock(&rows->lock);
    return publish != NULL;
}
