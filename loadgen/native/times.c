/* Computes the arrival times of the data of a read. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "receiver.h"

/* Longest delay in the kernel (softirq) between a segment's stamp and the socket becoming readable. */
#define SETTLE_NS 50000
/* TCP_INFO costs more than a read: allow one query per ASK_NS on average, and bursts of ASKS_AT_ONCE. */
#define ASK_NS 500000
#define ASKS_AT_ONCE 16
/* Offsets of tcpi_bytes_received and tcpi_data_segs_in in struct tcp_info (linux/tcp.h). */
#define BYTES_RECEIVED_AT 128
#define SEGMENTS_AT 152

int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Each read that empties a socket contains at least one segment. So if there were as many segments as reads since the
   last TCP_INFO query, each read was one segment. TCP_INFO also counts segments that arrived after the read. There were
   none if its total of received bytes equals the bytes that were read. */
int is_one_segment(Receiver *self, int descriptor, Slot *slot) {
    if (self->ask_ns > self->now_ns) return 0;
    int64_t least_ns = self->now_ns - ASKS_AT_ONCE * (int64_t)ASK_NS;
    self->ask_ns = (self->ask_ns > least_ns ? self->ask_ns : least_ns) + ASK_NS;
    unsigned char info[SEGMENTS_AT + 4];
    socklen_t size = sizeof info;
    uint64_t bytes;
    uint32_t segments;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, info, &size) || size < sizeof info) return 0;
    memcpy(&bytes, info + BYTES_RECEIVED_AT, sizeof bytes);
    memcpy(&segments, info + SEGMENTS_AT, sizeof segments);
    int known = bytes == slot->bytes;
    int one = known && slot->asked && segments - slot->segments == slot->reads;
    slot->asked = known;
    slot->segments = segments;
    slot->reads = 0;
    return one;
}

/* A read has the stamp of its last segment, but the kernel merges segments that wait in the socket. So the stamp is
   exact only for a message that ends with a read that emptied the socket. For all other data only a lower bound is
   known: the last time at which the socket was empty. That is either just before the last read that emptied it, or
   the time of a later poll that did not report it. */
Times times_of(Receiver *self, Slot *slot, int64_t stamped_ns, int64_t before_ns, int64_t read_ns, int emptied) {
    slot->reads++;
    Times times = {.arrival_ns = stamped_ns ? stamped_ns : read_ns, .read_ns = read_ns};
    int64_t since_ns = slot->since_ns;
    if (!slot->filled && self->polled_ns - SETTLE_NS > since_ns) since_ns = self->polled_ns - SETTLE_NS;
    /* If the data waited in the kernel for longer than SETTLE_NS, it is only certain that its stamp is later than the
       stamp of the last read that emptied the socket. */
    if (since_ns < slot->stamp_ns || since_ns >= times.arrival_ns) since_ns = slot->stamp_ns;
    times.within_ns = times.arrival_ns > since_ns ? times.arrival_ns - since_ns : 0;
    times.end_ns = emptied && stamped_ns ? 0 : times.within_ns;
    if (emptied) {
        slot->since_ns = before_ns - SETTLE_NS;
        if (stamped_ns) slot->stamp_ns = stamped_ns;
    } else {
        slot->since_ns = since_ns;
        /* This read and the next may share a segment, so counting reads no longer counts segments. */
        slot->asked = 0;
    }
    slot->filled = !emptied;
    return times;
}
