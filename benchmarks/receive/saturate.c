/* The inner loop of the saturating sender: stamps the frames in each subscriber's buffer in place, and writes them. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEQUENCE_DIGITS 10
#define TIME_DIGITS 19

static int64_t read_clock(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void digits(char *to, int64_t value, int count) {
    while (count--) {
        to[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* Sends to all `people` (subscribers), again and again, until the steady clock shows `until_ns`. Subscriber i has the
   socket `sockets[i]` and the buffer `writes[i]`, which holds `frames` frames in `size` bytes. The stamp of the first frame
   begins at offset `places[i]`, each further stamp `stride` bytes after the one before. A stamp is sequence, intended time
   and sent time in decimal digits, with commas between. Returns the number of rounds, or -1 with errno. */
int64_t saturate(const int *sockets, char *const *writes, int people, int64_t size, int frames, const int64_t *places,
                 int64_t stride, int64_t sequence, int64_t until_ns) {
    int64_t events = 0;
    while (read_clock(CLOCK_MONOTONIC) < until_ns) {
        char times[2 * TIME_DIGITS + 1];
        digits(times, read_clock(CLOCK_REALTIME), TIME_DIGITS);
        times[TIME_DIGITS] = ',';
        memcpy(times + TIME_DIGITS + 1, times, TIME_DIGITS);
        for (int person = 0; person < people; person++) {
            char *at = writes[person] + places[person];
            for (int frame = 0; frame < frames; frame++, at += stride) {
                digits(at, sequence + frame, SEQUENCE_DIGITS);
                memcpy(at + SEQUENCE_DIGITS + 1, times, sizeof times);
            }
            for (int64_t done = 0; done < size;) {
                ssize_t wrote = write(sockets[person], writes[person] + done, (size_t)(size - done));
                if (wrote < 0 && errno != EINTR) return -1;
                if (wrote > 0) done += wrote;
            }
        }
        sequence += frames;
        events++;
    }
    return events;
}
