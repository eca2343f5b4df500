/* The cheapest possible receiver, as the limit for all others: epoll and read, without decoding. The sockets are the
   descriptors FIRST to LAST, connected and subscribed. Whenever nothing has arrived for PAUSE_MS, and at the end, it
   prints one line with its counts so far. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_MS 500

static unsigned long long bytes, reads, waits;

static void say(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    printf("{\"at_ns\": %lld, \"bytes\": %llu, \"reads\": %llu, \"waits\": %llu}\n",
           now.tv_sec * 1000000000LL + now.tv_nsec, bytes, reads, waits);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int first = atoi(argv[1]), last = atoi(argv[2]), open_ones = last - first + 1;
    int poll = epoll_create1(0);
    for (int fd = first; fd <= last; fd++) {
        struct epoll_event wanted = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &wanted)) return 3;
    }
    static char buffer[1 << 16];
    struct epoll_event events[512];
    int said = 1;
    while (open_ones > 0) {
        int count = epoll_wait(poll, events, 512, said ? -1 : PAUSE_MS);
        if (count <= 0) { say(); said = 1; continue; }
        said = 0;
        waits++;
        for (int place = 0; place < count; place++) {
            ssize_t got = read(events[place].data.fd, buffer, sizeof buffer);
            if (got > 0) { bytes += got; reads++; continue; }
            epoll_ctl(poll, EPOLL_CTL_DEL, events[place].data.fd, NULL);
            open_ones--;
        }
    }
    say();
    return 0;
}
