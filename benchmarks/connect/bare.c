/* The bare client: connect, upgrade, connection_init, subscribe; keeps FEW, then MANY connections open.

   bare PORT FEW MANY AT_ONCE PATH          plain
   bare PORT FEW MANY AT_ONCE PATH tls      over TLS, if built with -DWITH_TLS (-lssl -lcrypto)
   bare PORT FEW MANY AT_ONCE PATH resume   over TLS, resuming the session of the previous connection

   The file at PATH holds the three messages that our own client sends, in hexadecimal, one per line: the upgrade
   request with a key, and two frames, each with a mask of zeros. The program prints one line of JSON. It does not check
   Sec-WebSocket-Accept. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
static SSL_CTX *context;
static SSL_SESSION *session;
static int resumes, resumed;
#endif

enum { CONNECTING, SECURING, UPGRADING, LOGGING_IN, SUBSCRIBING, DONE };
struct client { int fd; unsigned char state; void *tls; };

static char messages[3][4096];
static size_t lengths[3];
static int tls, poll_fd, port, opened, done;
static struct client *clients;

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static long pss_kb(void) {
    char line[256];
    long kb = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Pss: %ld", &kb) == 1) break;
    if (file) fclose(file);
    return kb;
}

static void fail(const char *what) { perror(what); exit(3); }

static void watch(struct client *client, int operation, unsigned events) {
    struct epoll_event wanted = {.events = events, .data.ptr = client};
    if (epoll_ctl(poll_fd, operation, client->fd, &wanted)) fail("epoll_ctl");
}

static void say(struct client *client, int number) {
    int size = (int)lengths[number];
#ifdef WITH_TLS
    if (client->tls) { if (SSL_write(client->tls, messages[number], size) != size) fail("SSL_write"); return; }
#endif
    if (send(client->fd, messages[number], size, 0) != size) fail("send");
}

static int hear(struct client *client, char *buffer, int size) {
#ifdef WITH_TLS
    if (client->tls) {
        int got = SSL_read(client->tls, buffer, size);
        return got > 0 ? got : SSL_get_error(client->tls, got) == SSL_ERROR_WANT_READ ? 0 : -1;
    }
#endif
    int got = recv(client->fd, buffer, size, 0);
    return got > 0 ? got : got < 0 && errno == EAGAIN ? 0 : -1;
}

static void begin(void) {
    struct client *client = &clients[opened++];
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1;
    inet_pton(AF_INET, "127.0.0.1", &there.sin_addr);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0) fail("socket");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(client->fd, (struct sockaddr *)&there, sizeof there) && errno != EINPROGRESS) fail("connect");
    client->state = CONNECTING;
    watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

static void upgrade(struct client *client) { client->state = UPGRADING; say(client, 0); }

#ifdef WITH_TLS
static int keep(SSL *of, SSL_SESSION *found) {
    (void)of;
    if (session) SSL_SESSION_free(session);
    session = found;
    return 1;
}

static void secure(struct client *client) {
    if (!client->tls) {
        SSL *made = client->tls = SSL_new(context);
        SSL_set_fd(made, client->fd);
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(made), "127.0.0.1");
        if (resumes && session) SSL_set_session(made, session);
        client->state = SECURING;
    }
    int result = SSL_connect(client->tls);
    if (result == 1) { resumed += SSL_session_reused(client->tls); upgrade(client); return; }
    if (SSL_get_error(client->tls, result) != SSL_ERROR_WANT_READ) { fprintf(stderr, "TLS failed\n"); exit(3); }
}
#endif

static void step(struct client *client, unsigned events) {
    static char buffer[1 << 14];
    if (client->state == CONNECTING) {
        int code = 0;
        socklen_t size = sizeof code;
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &code, &size);
        if (code || !(events & EPOLLOUT)) fail("connect");
        watch(client, EPOLL_CTL_MOD, EPOLLIN);
#ifdef WITH_TLS
        if (tls) { secure(client); return; }
#endif
        upgrade(client);
        return;
    }
#ifdef WITH_TLS
    if (client->state == SECURING) { secure(client); return; }
#endif
    int got = hear(client, buffer, sizeof buffer - 1);
    if (got < 0) { fprintf(stderr, "the server hung up\n"); exit(3); }
    if (!got) return;
    buffer[got] = 0;
    if (client->state == UPGRADING && strstr(buffer, "\r\n\r\n")) {
        if (strncmp(buffer, "HTTP/1.1 101", 12)) { fprintf(stderr, "refused\n"); exit(3); }
        client->state = LOGGING_IN;
        say(client, 1);
    } else if (client->state == LOGGING_IN && memmem(buffer, got, "connection_ack", 14)) {
        client->state = SUBSCRIBING;
        say(client, 2);
    } else if (client->state == SUBSCRIBING && memmem(buffer, got, "subscribe_success", 17)) {
        client->state = DONE;
        done++;
    }
}

static void connect_up_to(int most, int at_once) {
    struct epoll_event events[512];
    while (done < most) {
        while (opened < most && opened - done < at_once) begin();
        int count = epoll_wait(poll_fd, events, 512, 30000);
        if (count <= 0) fail("epoll_wait");
        for (int place = 0; place < count; place++) step(events[place].data.ptr, events[place].events);
    }
}

static void load(const char *path) {
    FILE *file = fopen(path, "r");
    static char line[9000];
    for (int number = 0; number < 3; number++) {
        if (!file || !fgets(line, sizeof line, file)) fail("messages");
        for (char *at = line; at[0] > ' ' && lengths[number] < sizeof messages[0]; at += 2) {
            unsigned byte;
            if (sscanf(at, "%2x", &byte) != 1) fail("messages");
            messages[number][lengths[number]++] = (char)byte;
        }
    }
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc < 6) return 2;
    port = atoi(argv[1]);
    int few = atoi(argv[2]), many = atoi(argv[3]), at_once = atoi(argv[4]);
    load(argv[5]);
    tls = argc > 6;
#ifdef WITH_TLS
    if (tls) {
        resumes = !strcmp(argv[6], "resume");
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_default_verify_paths(context);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
        if (resumes) {
            SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
            SSL_CTX_sess_set_new_cb(context, keep);
        }
    }
#else
    if (tls) return 2;
#endif
    poll_fd = epoll_create1(0);
    clients = calloc(many, sizeof *clients);
    connect_up_to(few, at_once);
    long before_kb = pss_kb();
    double cpu = cpu_s(), began = now_s();
    connect_up_to(many, at_once);
    double seconds = now_s() - began, used = cpu_s() - cpu;
    int reused = 0;
#ifdef WITH_TLS
    reused = resumed;
#endif
    printf("{\"cpu_s\": %.6f, \"seconds\": %.6f, \"kb\": %ld, \"resumed\": %d}\n", used, seconds,
           pss_kb() - before_kb, reused);
    fflush(stdout);
    return 0;
}
