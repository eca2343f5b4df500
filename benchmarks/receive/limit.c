/* The limit: epoll and read, nothing decoded. The sockets come connected and subscribed as descriptors FIRST..LAST. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

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
    unsigned long long bytes = 0, reads = 0;
    while (open_ones > 0) {
        int count = epoll_wait(poll, events, 512, -1);
        for (int place = 0; place < count; place++) {
            ssize_t got = read(events[place].data.fd, buffer, sizeof buffer);
            if (got > 0) { bytes += got; reads++; continue; }
            epoll_ctl(poll, EPOLL_CTL_DEL, events[place].data.fd, NULL);
            open_ones--;
        }
    }
    printf("{\"bytes\": %llu, \"reads\": %llu}\n", bytes, reads);
    return 0;
}
