/* The load client: sends one request many times, checks every response, and prints what it took as JSON.
 *
 * One thread, epoll. Modes:
 *   closed   CONNECTIONS connections, each asks again as soon as it has its response
 *   open     RATE requests a second, whatever happens to earlier ones; times count from when each was due
 *   streams  CONNECTIONS connections, opened over RAMP seconds, one response each
 *   slow     the same, but each reads only READ-RATE bytes a second
 * Figures are taken in a window of SECONDS seconds that begins WARMUP seconds after the first byte of the last
 * connection's response (open: after the start), so that opening and ending connections is not measured.
 * With MEMORY, how much the subject grows is noted too, and what is still open after the window is cut off.
 * A response that is not a 200, not whole, or not as announced is a failure, and never a sample.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "response.h"

#define TICK_NS (SECOND_NS / 10)
#define GRACE_NS (30 * SECOND_NS) /* what is not over this long after it should be has failed */
#define MOST_FAILURES 100

struct connection {
    int fd;
    bool busy, waits_to_write;
    size_t sent;
    uint64_t due, began;
    struct response response;
    struct connection *next_idle;
};

/* What to do. */
static enum { CLOSED, OPEN, STREAMS, SLOW } mode;
static int port;
static size_t connections = 1, events, body_bytes, read_rate, request_bytes;
static double rate, ramp, warmup, seconds;
static bool with_memory;
static char *request;
static struct processes subject, helpers;

/* How far it is. */
static int epoll;
static struct connection *all[65536], *idle;
static size_t made, busy, arrivals, arrived, answered_once;
static uint64_t window_begin, window_end;
static bool in_window, over;

/* What came out. */
static struct samples latency, first_byte, chunk_delay;
static size_t completed, failures;
static uint64_t window_received;
static double subject_cpu, helpers_cpu, own_cpu, memory_before, memory_peak, window_seconds;
static size_t chunks;
static char failure[256];

static double own_cpu_seconds(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void note_memory(void) {
    if (!with_memory) return;
    double now = memory_bytes(&subject);
    if (now > memory_peak) memory_peak = now;
}

/* ---- connections ---- */

static struct connection *connect_anew(void) {
    struct connection *c = calloc(1, sizeof *c);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!c || fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        die("cannot connect to port %d: %s", port, strerror(errno));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->fd = fd;
    struct epoll_event event = {mode == SLOW ? 0 : EPOLLIN, {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    if (made == sizeof all / sizeof *all) die("too many connections");
    all[made++] = c;
    return c;
}

static void disconnect(struct connection *c) {
    close(c->fd);
    c->fd = -1;
    for (struct connection **at = &idle; *at; at = &(*at)->next_idle)
        if (*at == c) {
            *at = c->next_idle;
            break;
        }
}

static void send_more(struct connection *c) {
    while (c->sent < request_bytes) {
        ssize_t count = write(c->fd, request + c->sent, request_bytes - c->sent);
        bool blocked = count < 0 && errno == EAGAIN;
        if (blocked != c->waits_to_write) {
            struct epoll_event event = {(mode == SLOW ? 0 : EPOLLIN) | (blocked ? EPOLLOUT : 0), {.ptr = c}};
            epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
            c->waits_to_write = blocked;
        }
        if (count <= 0) return; /* a broken connection shows itself when it is read */
        c->sent += (size_t)count;
    }
}

static void ask(struct connection *c, uint64_t due) {
    c->busy = true;
    busy++;
    c->sent = 0;
    c->due = due;
    reset_response(&c->response);
    send_more(c);
}

static struct connection *idle_or_new(void) {
    struct connection *c = idle;
    if (!c) return connect_anew();
    idle = c->next_idle;
    return c;
}

/* ---- responses ---- */

static const char *fault(const struct response *r) {
    if (r->state != WHOLE) return r->first_byte ? "a broken response" : "no response";
    if (r->status != 200) return "a status that is not 200";
    if (events && r->events != events) return "events are missing";
    if (body_bytes && r->body_bytes != body_bytes) return "a body of another length";
    return NULL;
}

static void fail(const struct response *r, const char *why) {
    if (!failures++)
        snprintf(failure, sizeof failure, "%s (status %d, %llu bytes, %u events)", why, r->status,
                 (unsigned long long)r->body_bytes, r->events);
    if (failures >= MOST_FAILURES) over = true;
}

static void finish(struct connection *c, uint64_t now) {
    struct response *r = &c->response;
    const char *why = fault(r);
    bool counts = window_begin && c->due >= window_begin && (!window_end || c->due < window_end);
    c->busy = false;
    busy--;
    if (!why && in_window && mode == STREAMS) why = "a stream was over before the window was";
    if (why) {
        fail(r, why);
    } else {
        completed += in_window;
        if (counts) {
            add_sample(&latency, now - c->due);
            add_sample(&first_byte, r->first_byte - c->due);
        }
    }
    if (why || r->closes) disconnect(c);
    if (mode == CLOSED && !over && !(window_end && !in_window)) {
        ask(c->fd < 0 ? connect_anew() : c, now);
    } else if (c->fd >= 0) {
        c->next_idle = idle;
        idle = c;
    }
}

static void on_chunk(void *now, unsigned number, uint64_t sent) {
    if (!in_window || !number) return; /* the first comes with the head */
    chunks++;
    add_sample(&chunk_delay, *(uint64_t *)now - sent);
}

static void read_from(struct connection *c, size_t most) {
    static char data[262144];
    ssize_t count = read(c->fd, data, most < sizeof data ? most : sizeof data);
    uint64_t now = now_ns();
    if (count < 0 && errno == EAGAIN) return;
    if (!c->busy) {
        disconnect(c); /* an idle connection says nothing, so this is its end */
        return;
    }
    struct response *r = &c->response;
    bool first = !r->first_byte;
    if (count > 0) read_response(r, data, (size_t)count, now, events ? on_chunk : NULL, &now);
    if (first && count > 0 && answered_once < arrivals) answered_once++;
    if (count > 0 && in_window) window_received += (size_t)count;
    if (count <= 0 || r->state >= WHOLE) finish(c, now);
}

/* ---- the window ---- */

static void move_window(uint64_t now, uint64_t start) {
    if (!window_begin) {
        if (mode == OPEN)
            window_begin = start + (uint64_t)(warmup * SECOND_NS);
        else if (answered_once == arrivals)
            window_begin = now + (uint64_t)(warmup * SECOND_NS);
    }
    if (window_begin && !window_end && now >= window_begin) {
        in_window = true;
        window_begin = now;
        window_end = now + (uint64_t)(seconds * SECOND_NS);
        subject_cpu = cpu_seconds(&subject);
        helpers_cpu = cpu_seconds(&helpers);
        own_cpu = own_cpu_seconds();
    } else if (in_window && now >= window_end) {
        in_window = false;
        window_end = now;
        window_seconds = (double)(now - window_begin) / SECOND_NS;
        subject_cpu = cpu_seconds(&subject) - subject_cpu;
        helpers_cpu = cpu_seconds(&helpers) - helpers_cpu;
        own_cpu = own_cpu_seconds() - own_cpu;
        note_memory();
    }
}

static void earlier(uint64_t *until, uint64_t other) {
    if (other && other < *until) *until = other;
}

static void run(void) {
    uint64_t start = now_ns(), tick = start + TICK_NS;
    double between = mode == OPEN ? 1 / rate : ramp / (double)connections;
    arrivals = mode == OPEN ? (size_t)(rate * (warmup + seconds)) : connections;
    uint64_t limit = start + (uint64_t)((ramp + warmup + seconds) * SECOND_NS) + GRACE_NS;
    while (!over) {
        uint64_t now = now_ns(), until = tick;
        uint64_t due = start + (uint64_t)((double)arrived * between * SECOND_NS);
        while (arrived < arrivals && due <= now) {
            ask(mode == OPEN ? idle_or_new() : connect_anew(), due);
            due = start + (uint64_t)((double)++arrived * between * SECOND_NS);
        }
        move_window(now, start);
        bool after_window = window_end && !in_window;
        if (arrived == arrivals && after_window && (!busy || with_memory)) break;
        if (now > limit) {
            if (!failures++) snprintf(failure, sizeof failure, "%zu requests are not over in time", busy);
            break;
        }
        if (now >= tick) {
            tick += TICK_NS;
            for (size_t i = 0; mode == SLOW && i < made; i++)
                if (all[i]->fd >= 0) read_from(all[i], read_rate / (SECOND_NS / TICK_NS));
            if (in_window) note_memory();
        }
        if (arrived < arrivals) earlier(&until, due);
        if (!after_window) earlier(&until, in_window ? window_end : window_begin);
        struct epoll_event ready[256];
        int count = wait_for_events(epoll, ready, 256, until);
        for (int i = 0; i < count; i++) {
            struct connection *c = ready[i].data.ptr;
            if (ready[i].events & EPOLLOUT) send_more(c);
            if (ready[i].events & ~EPOLLOUT && c->fd >= 0) read_from(c, SIZE_MAX);
        }
    }
}

/* Those that are cut off have to be good as far as they came. */
static void check_open_ones(void) {
    for (size_t i = 0; i < made; i++) {
        const struct response *r = &all[i]->response;
        if (all[i]->busy && (r->status != 200 || r->state == BROKEN)) fail(r, "a broken response");
    }
}

static void report(void) {
    double wanted = mode == SLOW ? 0.8 * seconds * (double)(read_rate * connections) : 0;
    if (!failures && (double)window_received < wanted) {
        failures++;
        snprintf(failure, sizeof failure, "the readers got %llu bytes only",
                 (unsigned long long)window_received);
    }
    printf("{");
    print_samples("latency_us", &latency);
    print_samples("first_byte_us", &first_byte);
    print_samples("chunk_delay_us", &chunk_delay);
    printf("\"completed\":%zu,\"chunks\":%zu,\"failures\":%zu,\"failure\":\"%s\",", completed, chunks, failures,
           failure);
    printf("\"seconds\":%.4f,\"cpu_seconds\":%.3f,\"helpers_busy\":%.3f,", window_seconds, subject_cpu,
           window_seconds > 0 ? (helpers_cpu + own_cpu) / window_seconds : 0);
    printf("\"memory_before\":%.0f,\"memory_peak\":%.0f}\n", memory_before, memory_peak);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file || fseek(file, 0, SEEK_END)) die("cannot read %s", path);
    request_bytes = (size_t)ftell(file);
    rewind(file);
    request = malloc(request_bytes);
    if (!request || fread(request, 1, request_bytes, file) != request_bytes) die("cannot read %s", path);
    fclose(file);
}

static void parse(int count, char **arguments) {
    static const char *const modes[] = {"closed", "open", "streams", "slow"};
    static const struct option options[] = {
        {"port", 1, 0, 'p'},    {"request", 1, 0, 'r'},   {"connections", 1, 0, 'c'}, {"rate", 1, 0, 'R'},
        {"ramp", 1, 0, 'a'},    {"warmup", 1, 0, 'w'},    {"seconds", 1, 0, 's'},     {"events", 1, 0, 'e'},
        {"bytes", 1, 0, 'b'},   {"read-rate", 1, 0, 'd'}, {"subject", 1, 0, 'S'},     {"helpers", 1, 0, 'H'},
        {"memory", 0, 0, 'm'},  {0}};
    for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'r': read_request(optarg); break;
        case 'c': connections = strtoul(optarg, NULL, 10); break;
        case 'R': rate = strtod(optarg, NULL); break;
        case 'a': ramp = strtod(optarg, NULL); break;
        case 'w': warmup = strtod(optarg, NULL); break;
        case 's': seconds = strtod(optarg, NULL); break;
        case 'e': events = strtoul(optarg, NULL, 10); break;
        case 'b': body_bytes = strtoul(optarg, NULL, 10); break;
        case 'd': read_rate = strtoul(optarg, NULL, 10); break;
        case 'S': parse_processes(&subject, optarg); break;
        case 'H': parse_processes(&helpers, optarg); break;
        case 'm': with_memory = true; break;
        default: exit(2);
        }
    size_t given = 0;
    while (optind < count && given < 4 && strcmp(modes[given], arguments[optind])) given++;
    mode = given;
    if (optind + 1 != count || given == 4 || !port || !request || seconds <= 0 || (mode == OPEN && rate <= 0) ||
        (mode == SLOW && !read_rate))
        die("usage: load --port N --request FILE --seconds S ... closed|open|streams|slow");
}

int main(int count, char **arguments) {
    prepare_process();
    parse(count, arguments);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (with_memory) memory_before = memory_bytes(&subject);
    run();
    if (with_memory) check_open_ones();
    report();
}
