/* Canonical JSON: no whitespace, members in the order of their names, and each value spelled as msgspec spells it. The
   scanner has already found the events valid, so this file does not check them again.

   A number is accepted only if its canonical spelling is certain without converting it to a double. A decimal number of
   up to 15 digits (DBL_DIG) is unchanged by a conversion to a double and back, so it already is the shortest
   spelling. */
#include "json_canonical.h"

#include <string.h>

#include "json_scan.h"

typedef const unsigned char *Text;

#define MEMBERS_MAX 128 /* maximum number of members in all objects open at a time */
#define INTEGER_DIGITS_MAX 18
#define FLOAT_DIGITS_MAX 15 /* DBL_DIG */
#define FLOAT_ZEROS_MAX 3   /* most zeros after "0." for which msgspec writes no exponent */
#define DIGIT(c) ((unsigned char)((c) - '0') < 10)

/* A member of an object, as offsets in `out`: of the opening and the closing quote of its name, and of its end. */
typedef struct {
    uint32_t begin, name_end, end;
} Member;

typedef struct {
    Text end, stamp, stamp_end;
    unsigned char *out, *scratch;
    size_t size; /* number of bytes in `out`; never more than the number of bytes read */
    int members;
    Member member[MEMBERS_MAX];
} Writer;

static uint32_t tables[8][256];

void json_canonical_init(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        tables[0][byte] = crc;
    }
    for (int table = 1; table < 8; table++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][before & 0xff];
        }
    }
}

/* Returns the CRC-32 that zlib computes (ISO 3309); takes eight bytes at a time. */
static uint32_t crc_of(Text at, size_t length) {
    uint32_t crc = 0xffffffffu;
    for (; length >= 8; length -= 8, at += 8) {
        uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
        crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^ tables[4][low >> 24] ^
              tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
    }
    while (length-- > 0) crc = crc >> 8 ^ tables[0][(crc ^ *at++) & 0xff];
    return ~crc;
}

static Text past_space(Text at, Text end) {
    for (;;) {
        if (at < end && *at == ' ') {
            at++;
        } else if (end - at >= 2 && *at == '\\' && (at[1] == 'n' || at[1] == 'r' || at[1] == 't')) {
            at += 2;
        } else {
            return at;
        }
    }
}

/* Writes one character of a string, escaped as msgspec escapes it. */
static void put(Writer *writer, int character) {
    unsigned char *out = writer->out + writer->size;
    const char *hexadecimal = "0123456789abcdef";
    if (character >= 0x20 && character != '"' && character != '\\') {
        writer->size += json_utf8(character, out);
        return;
    }
    unsigned char letter = character == '\b'   ? 'b'
                           : character == '\t' ? 't'
                           : character == '\n' ? 'n'
                           : character == '\f' ? 'f'
                           : character == '\r' ? 'r'
                           : character < 0x20  ? 'u'
                                               : (unsigned char)character;
    *out++ = '\\';
    *out++ = letter;
    writer->size += 2;
    if (letter == 'u') {
        memcpy(out, "00", 2);
        out[2] = (unsigned char)hexadecimal[character >> 4];
        out[3] = (unsigned char)hexadecimal[character & 15];
        writer->size += 4;
    }
}

/* Writes a string, given from its opening quote on; sets `escaped` to 1 if the written string contains an escape. */
static Text string(Text at, Writer *writer, int *escaped) {
    at += 2;
    writer->out[writer->size++] = '"';
    for (;;) {
        Text plain = json_plain(at, writer->end);
        memcpy(writer->out + writer->size, at, (size_t)(plain - at));
        writer->size += (size_t)(plain - at);
        at = plain;
        if (at >= writer->end) return NULL;
        if (*at != '\\') {
            /* This byte belongs to a character outside ASCII. */
            writer->out[writer->size++] = *at++;
            continue;
        }
        if (at[1] == '"') break;
        int character;
        at = json_escape_in_string(at, writer->end, &character);
        if (at == NULL) return NULL;
        if (character < 0x20 || character == '"' || character == '\\') *escaped = 1;
        put(writer, character);
    }
    writer->out[writer->size++] = '"';
    return at + 2;
}

static Text number(Text at, Writer *writer) {
    Text first = at, end = writer->end;
    int negative = *at == '-';
    at += negative;
    Text whole = at;
    while (at < end && DIGIT(*at)) at++;
    ptrdiff_t digits = at - whole, fraction = 0, written = at - first;
    int zero = digits == 1 && *whole == '0';
    if (at < end && *at == '.') {
        Text point = ++at;
        while (at < end && DIGIT(*at)) at++;
        fraction = at - point;
        while (fraction > 0 && point[fraction - 1] == '0') fraction--;
        ptrdiff_t zeros = 0;
        while (zero && zeros < fraction && point[zeros] == '0') zeros++;
        if (zeros > FLOAT_ZEROS_MAX || (zero ? fraction - zeros : digits + fraction) > FLOAT_DIGITS_MAX) return NULL;
        if (fraction > 0) written = point + fraction - first;
    }
    if (at < end && (*at | 0x20) == 'e') return NULL;
    if (digits > INTEGER_DIGITS_MAX || (fraction == 0 && zero && negative)) return NULL;
    memcpy(writer->out + writer->size, first, (size_t)written);
    writer->size += (size_t)written;
    return at;
}

/* Compares two names: returns less than 0 if `one` comes first, more than 0 if `other` does, and 0 if they are
   equal. */
static int compare(const Writer *writer, const Member *one, const Member *other) {
    size_t length = one->name_end - one->begin, other_length = other->name_end - other->begin;
    int order = memcmp(
        writer->out + one->begin, writer->out + other->begin, length < other_length ? length : other_length);
    return order ? order : (length > other_length) - (length < other_length);
}

/* Sorts the members of the innermost object, which begin at index `first`, by name. Returns 0 if two names are
   equal. */
static int sorted(Writer *writer, int first) {
    Member *member = writer->member + first;
    int count = writer->members - first, moved = 0;
    uint32_t begin = count ? member[0].begin : 0;
    for (int next = 1; next < count; next++) {
        Member one = member[next];
        int place = next, order = 1;
        while (place > 0 && (order = compare(writer, &member[place - 1], &one)) > 0) {
            member[place] = member[place - 1];
            place--;
        }
        if (place > 0 && order == 0) return 0;
        member[place] = one;
        moved |= place != next;
    }
    if (moved) {
        size_t size = 0;
        for (int each = 0; each < count; each++) {
            if (each) writer->scratch[size++] = ',';
            memcpy(writer->scratch + size, writer->out + member[each].begin, member[each].end - member[each].begin);
            size += member[each].end - member[each].begin;
        }
        memcpy(writer->out + begin, writer->scratch, size);
    }
    writer->members = first;
    return 1;
}

/* Writes a value. The recursion is limited, since the scanner has limited the depth of the event. */
static Text value(Text at, Writer *writer) {
    at = past_space(at, writer->end);
    if (at >= writer->end) return NULL;
    if (at == writer->stamp) {
        memcpy(writer->out + writer->size, "null", 4);
        writer->size += 4;
        return writer->stamp_end;
    }
    unsigned char kind = *at;
    int escaped = 0;
    if (kind == '\\') return string(at, writer, &escaped);
    if (kind == 't' || kind == 'n' || kind == 'f') {
        size_t length = kind == 'f' ? 5 : 4;
        memcpy(writer->out + writer->size, at, length);
        writer->size += length;
        return at + length;
    }
    if (kind != '{' && kind != '[') return number(at, writer);
    unsigned char closing = kind == '{' ? '}' : ']';
    int first = writer->members;
    writer->out[writer->size++] = kind;
    at = past_space(at + 1, writer->end);
    while (at < writer->end && *at != closing) {
        if (*at == ',') {
            writer->out[writer->size++] = ',';
            at = past_space(at + 1, writer->end);
        }
        uint32_t begin = (uint32_t)writer->size, name_end = 0;
        if (kind == '{') {
            if (at >= writer->end || (at = string(at, writer, &escaped)) == NULL || escaped) return NULL;
            /* Exclude the closing quote, so that a name sorts before all longer names that begin with it. */
            name_end = (uint32_t)writer->size - 1;
            writer->out[writer->size++] = ':';
            at = past_space(at, writer->end) + 1;
        }
        if ((at = value(at, writer)) == NULL) return NULL;
        if (kind == '{') {
            if (writer->members == MEMBERS_MAX) return NULL;
            writer->member[writer->members++] = (Member){begin, name_end, (uint32_t)writer->size};
        }
        at = past_space(at, writer->end);
    }
    if (at >= writer->end || (kind == '{' && !sorted(writer, first))) return NULL;
    writer->out[writer->size++] = closing;
    return at + 1;
}

int json_canonical_crc(Text at, Text end, Text stamp, Text stamp_end, uint32_t *crc) {
    if (end - at > JSON_CANONICAL_BYTES_MAX) return 0;
    unsigned char out[JSON_CANONICAL_BYTES_MAX], scratch[JSON_CANONICAL_BYTES_MAX];
    Writer writer;
    writer.end = end;
    writer.stamp = stamp;
    writer.stamp_end = stamp_end;
    writer.out = out;
    writer.scratch = scratch;
    writer.size = 0;
    writer.members = 0;
    if (value(at, &writer) == NULL) return 0;
    *crc = crc_of(out, writer.size);
    return 1;
}
