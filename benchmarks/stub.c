/* The stub upstream: answers like the Gemini API, at once or as a paced stream, over plain TCP and over TLS.
 *
 * One thread, epoll. What is asked for stands in the request's body, which every gateway passes on unchanged:
 *   "bytes": N         the length of a unary answer (default UNARY_BYTES)
 *   "chunked": 1       a unary answer comes in chunks, instead of with its length
 *   "events": N        how many events a stream has
 *   "interval_us": N   the time between two events; each stream starts at a random point of it
 *   "hold_us": N       the time after a stream's first event before that starts
 * Every event carries the time when it was sent (see common.h), so that its receiver knows the delay.
 *
 * Usage: stub CERTIFICATE KEY. Listens on two free ports of 127.0.0.1, and prints `plain PORT` and `tls PORT`.
 * Ends with its parent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define REQUEST_KEPT 4096 /* bytes of a request that are looked at: its head, and the start of its body */
#define CHUNK_BYTES 32768 /* of a large answer */
#define MOST_CONNECTIONS 65536
#define MOST_ANSWERS 8
#define EVENT_ROOM 1024
#define EARLY_NS 10000 /* events due so soon go along: setting a timer for each costs more than sending it */

struct connection {
    int fd;
    SSL *ssl; /* NULL: plain */
    enum { READING_HEAD, READING_BODY, ANSWERING } state;
    bool waits_to_write;
    char request[REQUEST_KEPT + 1];
    size_t kept, head_bytes, body_bytes, body_received;
    const char *out; /* what is still to be sent */
    size_t out_bytes;
    unsigned events, next_event;
    uint64_t hold, interval, due;
    size_t place; /* in the heap, from 1; 0: not in it */
    char event[EVENT_ROOM];
};

struct event {
    size_t bytes, stamp; /* where the number and the time stand */
    char text[EVENT_ROOM];
};

struct answer {
    size_t body_bytes;
    bool chunked;
    size_t bytes;
    char *text;
};

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nVary: Origin\r\nVary: X-Origin\r\nVary: Referer\r\n"
    "Date: Thu, 01 Oct 2026 12:00:00 GMT\r\nServer: scaffolding on HTTPServer2\r\nX-XSS-Protection: 0\r\n"
    "X-Frame-Options: SAMEORIGIN\r\nX-Content-Type-Options: nosniff\r\nServer-Timing: gfet4t7; dur=412\r\n";
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"
static const char TEXT[] =
    "Branches are copy-on-write: a branch shares its parent's pages until one of the two writes. ";

static int epoll;
static struct connection *heap[MOST_CONNECTIONS]; /* streams by the time of their next event, the first at 1 */
static size_t waiting;
static char scratch[262144];
static struct answer answers[MOST_ANSWERS];
static struct event event_texts[2][2]; /* [whether the first][whether the last] */

static void close_connection(struct connection *c);

/* ---- reading and writing: > 0 bytes, 0 the connection is over, -1 not now ---- */

static ssize_t tls_result(struct connection *c, int result) {
    if (result > 0) return result;
    int error = SSL_get_error(c->ssl, result);
    ERR_clear_error(); /* or the next connection asked for its error is told this one's */
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static ssize_t receive(struct connection *c, void *to, size_t room) {
    if (c->ssl) return tls_result(c, SSL_read(c->ssl, to, (int)room));
    ssize_t count = read(c->fd, to, room);
    return count >= 0 ? count : errno == EAGAIN ? -1 : 0;
}

static ssize_t transmit(struct connection *c, const void *from, size_t length) {
    if (c->ssl) return tls_result(c, SSL_write(c->ssl, from, length > 1 << 20 ? 1 << 20 : (int)length));
    ssize_t count = write(c->fd, from, length);
    return count > 0 ? count : errno == EAGAIN ? -1 : 0;
}

/* ---- the heap of streams that wait for their next event ---- */

static void put(size_t place, struct connection *c) {
    heap[place] = c;
    c->place = place;
}

static void sift(size_t place, struct connection *c) {
    for (; place > 1 && heap[place / 2]->due > c->due; place /= 2) put(place, heap[place / 2]);
    for (size_t child; (child = 2 * place) <= waiting; place = child) {
        if (child < waiting && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        put(place, heap[child]);
    }
    put(place, c);
}

static void schedule(struct connection *c) {
    if (waiting + 1 == MOST_CONNECTIONS) die("too many streams");
    sift(++waiting, c);
}

static void unschedule(struct connection *c) {
    size_t place = c->place;
    if (!place) return;
    c->place = 0;
    struct connection *last = heap[waiting--];
    if (last != c) sift(place, last);
}

/* ---- answers ---- */

static char *append(char *at, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = vsprintf(at, format, arguments);
    va_end(arguments);
    return at + length;
}

/* A whole unary answer whose body has exactly this many bytes. Made once, then shared. */
static const struct answer *unary_answer(size_t body_bytes, bool chunked) {
    struct answer *answer = answers;
    for (; answer < answers + MOST_ANSWERS && answer->text; answer++)
        if (answer->body_bytes == body_bytes && answer->chunked == chunked) return answer;
    if (answer == answers + MOST_ANSWERS) die("too many kinds of answers");

    static const char start[] = "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"";
    static const char end[] =
        "\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{"
        "\"promptTokenCount\":96,\"candidatesTokenCount\":310,\"totalTokenCount\":406,"
        "\"promptTokensDetails\":[{\"modality\":\"TEXT\",\"tokenCount\":96}]},"
        "\"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"b3JkZXJlZA\"}\n";
    char *body = malloc(body_bytes), *text = malloc(body_bytes + body_bytes / 512 + 4096);
    if (!body || !text || body_bytes < sizeof start + sizeof end) die("cannot make %zu bytes", body_bytes);
    for (size_t i = 0; i < body_bytes; i++) body[i] = TEXT[i % (sizeof TEXT - 1)];
    memcpy(body, start, sizeof start - 1);
    memcpy(body + body_bytes - (sizeof end - 1), end, sizeof end - 1);

    char *at = append(text, HEAD, "application/json; charset=UTF-8");
    at = chunked ? append(at, CHUNKED) : append(at, "Content-Length: %zu\r\n\r\n", body_bytes);
    size_t most = chunked ? CHUNK_BYTES : body_bytes;
    for (size_t done = 0; done < body_bytes;) {
        size_t chunk = body_bytes - done < most ? body_bytes - done : most;
        if (chunked) at = append(at, "%zx\r\n", chunk);
        memcpy(at, body + done, chunk);
        at = append(at + chunk, chunked ? "\r\n" : "");
        done += chunk;
    }
    if (chunked) at = append(at, "0\r\n\r\n");
    free(body);
    *answer = (struct answer){body_bytes, chunked, (size_t)(at - text), text};
    return answer;
}

/* Sends what waits to be sent; then the next event's turn comes, or the next request's. */
static void flush(struct connection *c) {
    while (c->out_bytes) {
        ssize_t sent = transmit(c, c->out, c->out_bytes);
        if (sent == 0) {
            close_connection(c);
            return;
        }
        bool blocked = sent < 0;
        if (blocked != c->waits_to_write) {
            struct epoll_event event = {EPOLLIN | (blocked ? EPOLLOUT : 0), {.ptr = c}};
            epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
            c->waits_to_write = blocked;
        }
        if (blocked) return;
        c->out += sent;
        c->out_bytes -= (size_t)sent;
    }
    if (c->next_event < c->events) {
        schedule(c);
    } else {
        c->state = READING_HEAD;
        c->kept = 0;
    }
}

/* What events look like on the wire: the first after a head, one in the middle, the last, an only one. */
static void make_events(void) {
    for (int first = 0; first < 2; first++)
        for (int last = 0; last < 2; last++) {
            struct event *event = &event_texts[first][last];
            char body[512], *at = event->text;
            char *end = append(
                body,
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"%.60s\"}],\"role\":\"model\"},"
                "%s\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":96,\"candidatesTokenCount\":12,"
                "\"totalTokenCount\":108},\"modelVersion\":\"gemini-2.5-flash\"," EVENT_MARK EVENT_STAMP
                "\"}\r\n\r\n",
                TEXT, last ? "\"finishReason\":\"STOP\"," : "", 0u, 0ull);
            if (first) at = append(append(at, HEAD, "text/event-stream"), CHUNKED);
            at = append(at, "%zx\r\n%s\r\n%s", (size_t)(end - body), body, last ? "0\r\n\r\n" : "");
            event->bytes = (size_t)(at - event->text);
            event->stamp = (size_t)(strstr(event->text, EVENT_MARK) + sizeof EVENT_MARK - 1 - event->text);
        }
}

/* Writes a number into as many digits as it has room for: sprintf would cost as much as the rest. */
static void write_digits(char *to, int digits, uint64_t number) {
    for (; digits--; number /= 10) to[digits] = (char)('0' + number % 10);
}

static void send_event(struct connection *c) {
    const struct event *event = &event_texts[c->next_event == 0][c->next_event + 1 == c->events];
    uint64_t now = now_ns();
    memcpy(c->event, event->text, event->bytes);
    write_digits(c->event + event->stamp, 8, c->next_event);
    write_digits(c->event + event->stamp + 9, 20, now);
    c->out = c->event;
    c->out_bytes = event->bytes;

    if (c->next_event == 0)
        c->due = now + c->hold + (uint64_t)(drand48() * (double)c->interval);
    else
        c->due += c->interval;
    if (c->due < now) c->due = now; /* a stream that was held up doesn't catch up */
    c->next_event++;
    flush(c);
}

/* The number after `"name":` in the request's body, or 0. */
static unsigned long asked_for(const struct connection *c, const char *name) {
    const char *at = strstr(c->request + c->head_bytes, name);
    return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

static void answer(struct connection *c) {
    c->request[c->kept] = 0;
    c->state = ANSWERING;
    c->events = c->next_event = 0;
    const char *line_end = strchr(c->request, '\r');
    const char *stream = strstr(c->request, "streamGenerateContent?alt=sse "); /* some escape the colon before it */
    if (stream && stream < line_end) {
        c->events = (unsigned)asked_for(c, "\"events\":");
        c->interval = asked_for(c, "\"interval_us\":") * 1000ull;
        c->hold = asked_for(c, "\"hold_us\":") * 1000ull;
        if (!c->events) die("a request for a stream names no number of events: %.200s", c->request);
        send_event(c);
        return;
    }
    size_t bytes = asked_for(c, "\"bytes\":");
    const struct answer *whole = unary_answer(bytes ? bytes : UNARY_BYTES, asked_for(c, "\"chunked\":"));
    c->out = whole->text;
    c->out_bytes = whole->bytes;
    flush(c);
}

/* ---- requests ---- */

/* Whether the connection goes on. */
static bool take(struct connection *c, size_t count) {
    if (c->state == READING_HEAD) {
        c->request[c->kept] = 0;
        char *end = strstr(c->request, "\r\n\r\n");
        if (!end) return c->kept < REQUEST_KEPT;
        c->head_bytes = (size_t)(end - c->request) + 4;
        char *length = strcasestr(c->request, "\r\ncontent-length:");
        if (!length || length > end) return false;
        c->body_bytes = strtoul(length + 17, NULL, 10);
        c->body_received = c->kept - c->head_bytes;
        c->state = READING_BODY;
    } else {
        c->body_received += count;
    }
    if (c->body_received < c->body_bytes) return true;
    if (c->body_received > c->body_bytes) return false; /* pipelining: nobody here does that */
    answer(c);
    return true;
}

static void on_readable(struct connection *c) {
    for (;;) {
        bool keep = c->kept < REQUEST_KEPT && c->state != ANSWERING;
        ssize_t count = keep ? receive(c, c->request + c->kept, REQUEST_KEPT - c->kept)
                             : receive(c, scratch, sizeof scratch);
        if (count < 0) return;
        if (keep) c->kept += (size_t)count;
        if (count == 0 || c->state == ANSWERING || !take(c, (size_t)count)) {
            close_connection(c);
            return;
        }
        /* TLS may hold more than epoll knows of. */
        if (c->fd < 0 || (!c->ssl && c->state != READING_BODY)) return;
    }
}

/* ---- connections ---- */

static void close_connection(struct connection *c) {
    unschedule(c);
    if (c->ssl) SSL_free(c->ssl);
    close(c->fd);
    c->fd = -1; /* freed by the loop: callers further up still look at it */
}

static void accept_from(int listener, SSL_CTX *tls) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("out of memory");
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (tls) {
            c->ssl = SSL_new(tls);
            SSL_set_fd(c->ssl, fd);
            SSL_set_accept_state(c->ssl);
        }
        struct epoll_event event = {EPOLLIN, {.ptr = c}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on_loopback(const char *name) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&address, &length))
        die("cannot listen: %s", strerror(errno));
    printf("%s %d\n", name, ntohs(address.sin_port));
    return fd;
}

int main(int count, char **arguments) {
    if (count != 3) die("usage: stub CERTIFICATE KEY");
    prepare_process();
    make_events();
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(tls, arguments[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, arguments[2], SSL_FILETYPE_PEM) != 1)
        die("cannot use %s with %s", arguments[1], arguments[2]);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);

    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listeners[] = {listen_on_loopback("plain"), listen_on_loopback("tls")};
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        struct epoll_event event = {EPOLLIN, {.ptr = &listeners[i]}};
        epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[i], &event);
    }
    for (;;) {
        struct epoll_event events[256];
        int ready = wait_for_events(epoll, events, 256, waiting ? heap[1]->due : 0);
        for (int i = 0; i < ready; i++) {
            int *listener = events[i].data.ptr;
            struct connection *c = events[i].data.ptr;
            if (listener == &listeners[0] || listener == &listeners[1]) {
                accept_from(*listener, listener == &listeners[1] ? tls : NULL);
                continue;
            }
            if (events[i].events & EPOLLOUT) flush(c);
            if (c->fd >= 0 && events[i].events & ~EPOLLOUT) on_readable(c);
            if (c->fd < 0) free(c);
        }
        for (uint64_t soon = now_ns() + EARLY_NS; waiting && heap[1]->due <= soon;) {
            struct connection *c = heap[1];
            unschedule(c);
            send_event(c);
            if (c->fd < 0) free(c);
        }
    }
}
