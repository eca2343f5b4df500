/* The C reader (lane) for a service that a protocol file describes. It records deliveries that match a template.

   It takes a message or a line only if `loadgen.protocol.generic.receiving` would record exactly the same row for it.
   Matching never backtracks: a message that might match only in another way is left to Python. */
#include <string.h>

#include "lane.h"
#include "template.h"

#define DIGITS_MAX 9
#define DIGIT(c) ((unsigned char)((c) - '0') < 10)

typedef const unsigned char *Text;

typedef struct {
    Lane lane;
    Template *template;
    int is_only; /* 1 if all deliveries belong to the subscription `only` */
    int64_t only;
} TemplateFastPath;

/* Sets the number of the subscription with this name. Returns 0 if the name is unknown here; Python then processes the
   message. */
static int name_unit(Lane *lane, Text name, size_t length, Unit *unit) {
    const Name *found = names_find(&lane->names, name, length);
    if (found == NULL || !found->known) return 0;
    unit->number = found->number;
    return 1;
}

/* Sets the number of the subscription whose name is this integer without leading zeros. Returns 0 if there is none;
   Python then processes the message. */
static int number_unit(Lane *lane, int64_t number, Unit *unit) {
    unsigned char digits[20];
    size_t at = sizeof digits;
    if (number < 0) return 0;
    do digits[--at] = (unsigned char)('0' + number % 10);
    while ((number /= 10) > 0);
    return name_unit(lane, digits + at, sizeof digits - at, unit);
}

/* --- texts and lines --- */

static int is_space(unsigned char byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static Text digits_of(Text at, Text end, int64_t *value) {
    Text first = at;
    *value = 0;
    while (at < end && DIGIT(*at) && at - first < DIGITS_MAX) *value = *value * 10 + (*at++ - '0');
    return at > first && (at == end || !DIGIT(*at)) ? at : NULL;
}

/* Returns the position of the CR LF that ends a line, or NULL if the line is incomplete. */
static Text line_end(Text at, Text end) {
    Text carriage = memchr(at, '\r', (size_t)(end - at));
    if (carriage == NULL || end - carriage < 2 || carriage[1] != '\n') return NULL;
    return memchr(at, '\n', (size_t)(carriage - at)) == NULL ? carriage : NULL;
}

static Py_ssize_t text_unit(Lane *lane, Text at, Text end, Unit *unit) {
    const Template *template = ((const TemplateFastPath *)lane)->template;
    const int lines = template->lines;
    Text begin = at, next;
    int64_t value, size = -1;
    for (uint32_t which = 0; which < template->count; which++) {
        const Part *part = &template->parts[which];
        switch (part->kind) {
            case LITERAL:
                if ((size_t)(end - at) < part->length || memcmp(at, part->bytes, part->length)) return LANE_DECLINED;
                at += part->length;
                break;
            case WORD:
                for (next = at; next < end && *next > 0x20 && *next < 0x7f;) next++;
                if (next == at || (next < end && !is_space(*next))) return LANE_DECLINED;
                at = next;
                break;
            case KEY:
                for (next = at; next < end && !is_space(*next);) next++;
                if (!name_unit(lane, at, (size_t)(next - at), unit)) return LANE_DECLINED;
                at = next;
                break;
            case DIGITS:
            case NUMBER:
            case SIZE:
                if ((at = digits_of(at, end, &value)) == NULL) return LANE_DECLINED;
                if (part->kind == NUMBER && !number_unit(lane, value, unit)) return LANE_DECLINED;
                if (part->kind == SIZE) size = value;
                break;
            case REST:
                if ((next = lines ? line_end(at, end) : end) == NULL) return LANE_DECLINED;
                /* A text frame must be UTF-8 (RFC 6455, 8.1). The skipped text is not checked anywhere else. */
                if (lane->first == 0x81 && !text_is_utf8(at, next)) return LANE_DECLINED;
                at = next;
                break;
            default: /* EVENT */
                if (size < 0) {
                    /* If a literal follows the event in the template, the event ends where that literal begins.
                       Otherwise the event ends at the end of the text. */
                    uint32_t behind = which + 1 < template->count ? part[1].length : 0;
                    if (lines && behind >= 2) behind -= 2; /* CR LF, which is part of the literal */
                    next = lines ? line_end(at, end) : end;
                    if (next == NULL || (size_t)(next - at) < behind) return LANE_DECLINED;
                    next -= behind;
                } else {
                    if (size > end - at) return LANE_DECLINED;
                    next = at + size;
                }
                if (!lane_event(lane, at, next, unit)) return LANE_DECLINED;
                at = next;
        }
    }
    return lines || at == end ? at - begin : LANE_DECLINED;
}

/* --- JSON --- */

static Text match(Lane *lane, const Template *template, const Part *part, Text at, Text end, Unit *unit);

/* Returns the member with this name, or NULL. Services write members in the same order each time, so the search
   begins at the member after the one that was found last. */
static const Part *member_of(const Part *first, uint32_t count, uint32_t *likely, Text name, size_t length) {
    for (uint32_t tried = 0; tried < count; tried++) {
        uint32_t which = (*likely + tried) % count;
        const Part *member = &first[which];
        if (member->name_length == length && memcmp(member->name, name, length) == 0) {
            *likely = which + 1;
            return member;
        }
    }
    return NULL;
}

static Text match_object(Lane *lane, const Template *template, const Part *part, Text at, Text end, Unit *unit) {
    const Part *first = &template->parts[part->first_child], *member;
    uint64_t seen = 0;
    uint32_t likely = 0, found = 0;
    if (at == end || *at++ != '{') return NULL;
    for (;;) {
        at = json_space(at, end);
        if (at == end || *at++ != '"') return NULL;
        Text name = at;
        int escaped = 0;
        at = json_string(at, end, &escaped);
        /* Decline a name with escapes, because it may stand for one of the template's names. */
        if (at == NULL || escaped) return NULL;
        size_t length = (size_t)(at - name) - 1;
        at = json_space(at, end);
        if (at == end || *at++ != ':') return NULL;
        at = json_space(at, end);
        if ((member = member_of(first, part->children, &likely, name, length)) != NULL) {
            /* Leave a message with two members of the same name to the Python path, which knows which one is valid. */
            uint64_t bit = 1ULL << (member - first);
            if (seen & bit) return NULL;
            seen |= bit;
            found++;
            at = match(lane, template, member, at, end, unit);
        } else {
            at = json_value(at, end);
        }
        if (at == NULL) return NULL;
        at = json_space(at, end);
        if (at == end) return NULL;
        if (*at == '}') return found == part->children ? at + 1 : NULL;
        if (*at++ != ',') return NULL;
    }
}

static Text match_list(Lane *lane, const Template *template, const Part *part, Text at, Text end, Unit *unit) {
    const Part *element = &template->parts[part->first_child];
    uint32_t left = part->children;
    if (at == end || *at++ != '[') return NULL;
    for (uint32_t index = 0;; index++) {
        at = json_space(at, end);
        /* The elements of the template are sorted by index. */
        if (left > 0 && element->index == index) {
            at = match(lane, template, element++, at, end, unit);
            left--;
        } else {
            at = json_value(at, end);
        }
        if (at == NULL) return NULL;
        at = json_space(at, end);
        if (at == end) return NULL;
        if (*at == ']') return left == 0 ? at + 1 : NULL;
        if (*at++ != ',') return NULL;
    }
}

/* Reads an integer of at most 18 digits. Leading zeros, a fraction or an exponent are not accepted. */
static Text integer_of(Text at, Text end, int64_t *value) {
    int negative = at < end && *at == '-';
    Text first = at += negative;
    int64_t sum = 0;
    while (at < end && DIGIT(*at)) {
        if (at - first == 18) return NULL;
        sum = sum * 10 + (*at++ - '0');
    }
    if (at == first || (*first == '0' && (at - first > 1 || negative))) return NULL;
    if (at < end && (*at == '.' || *at == 'e' || *at == 'E')) return NULL;
    *value = negative ? -sum : sum;
    return at;
}

/* Reads a string without escapes; sets `content` and `length`. */
static Text string_of(Text at, Text end, Text *content, size_t *length) {
    if (at == end || *at++ != '"') return NULL;
    int escaped = 0;
    *content = at;
    at = json_string(at, end, &escaped);
    if (at == NULL || escaped) return NULL;
    *length = (size_t)(at - *content) - 1;
    return at;
}

/* Matches the value at `at` with a part of the template. The caller has skipped any whitespace before it. Returns the
   position after the value, or NULL if the value does not match or only Python can tell. */
static Text match(Lane *lane, const Template *template, const Part *part, Text at, Text end, Unit *unit) {
    Text content;
    size_t length;
    int64_t value;
    JsonStamp stamp;
    switch (part->kind) {
        case OBJECT:
            return match_object(lane, template, part, at, end, unit);
        case LIST:
            return match_list(lane, template, part, at, end, unit);
        case TEXT:
            at = string_of(at, end, &content, &length);
            return at != NULL && length == part->length && memcmp(content, part->bytes, length) == 0 ? at : NULL;
        case INTEGER:
            at = integer_of(at, end, &value);
            return at != NULL && value == part->integer ? at : NULL;
        case NOTHING:
            return end - at >= 4 && memcmp(at, "null", 4) == 0 ? at + 4 : NULL;
        case JSON_KEY:
            at = string_of(at, end, &content, &length);
            return at != NULL && name_unit(lane, content, length, unit) ? at : NULL;
        case JSON_NUMBER:
            at = integer_of(at, end, &value);
            return at != NULL && number_unit(lane, value, unit) ? at : NULL;
        case JSON_EVENT:
            if (at == end || *at++ != '"') return NULL;
            at = json_stamp_in_string(at, end, lane->path, &stamp);
            if (at != NULL) at++; /* the closing quote */
            break;
        default: /* JSON_RAW */
            at = json_stamp(at, end, lane->path, &stamp);
    }
    if (at != NULL) memcpy(unit->stamp, stamp.numbers, sizeof unit->stamp);
    return at;
}

static Py_ssize_t json_unit(Lane *lane, Text at, Text end, Unit *unit) {
    const Template *template = ((const TemplateFastPath *)lane)->template;
    Text after = match(lane, template, template->parts, json_space(at, end), end, unit);
    return after != NULL && json_space(after, end) == end ? end - at : LANE_DECLINED;
}

/* --- both --- */

static Py_ssize_t template_unit(Lane *lane, Text at, Text end, Unit *unit) {
    const TemplateFastPath *self = (const TemplateFastPath *)lane;
    if (self->is_only) unit->number = self->only;
    return self->template->json ? json_unit(lane, at, end, unit) : text_unit(lane, at, end, unit);
}

static PyObject *templates_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rows", "tokens", "template", "first", "only", NULL};
    PyObject *rows, *tokens, *template, *only = Py_None;
    int first;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!O!O!i|O", names, &RowsType, &rows, &PyTuple_Type, &tokens, &TemplateType, &template,
            &first, &only)) {
        return NULL;
    }
    if (first == 0) {
        PyErr_SetString(PyExc_ValueError, "a template is for messages in frames");
        return NULL;
    }
    long long number = only != Py_None ? PyLong_AsLongLong(only) : 0;
    if (number == -1 && PyErr_Occurred()) return NULL;
    TemplateFastPath *self = (TemplateFastPath *)lane_new(type, rows, tokens, first);
    if (self == NULL) return NULL;
    self->lane.unit = template_unit;
    self->template = (Template *)Py_NewRef(template);
    self->is_only = only != Py_None;
    self->only = number;
    return (PyObject *)self;
}

static void templates_dealloc(PyObject *object) {
    Py_XDECREF(((TemplateFastPath *)object)->template);
    lane_dealloc(object);
}

PyTypeObject TemplateFastPathType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.TemplateFastPath",
    .tp_basicsize = sizeof(TemplateFastPath),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_base = &LaneType,
    .tp_new = templates_new,
    .tp_dealloc = templates_dealloc,
    .tp_traverse = lane_traverse,
};
