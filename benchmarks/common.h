/* Shared by the stub upstream and the load client: clocks, samples, and what /proc says of processes. */
#ifndef BENCHMARKS_COMMON_H
#define BENCHMARKS_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The stub's answers, as far as the load client checks them. */
#define UNARY_BYTES 1536                  /* length of a small answer's body */
#define EVENT_MARK "\"responseId\":\""    /* in every event, before what an event is recognised by: */
#define EVENT_STAMP "%08u-%020llu"        /* its number from 0, and CLOCK_MONOTONIC in ns when it was sent */
#define EVENT_STAMP_BYTES 29

#define SECOND_NS 1000000000ull

/* CLOCK_MONOTONIC in nanoseconds: the same for all processes of this machine. */
uint64_t now_ns(void);

/* Prints a line to standard error and exits with 1. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* epoll_pwait2: waits to the microsecond, where epoll_wait rounds to milliseconds. `until` in ns, 0: for ever. */
struct epoll_event;
int wait_for_events(int epoll, struct epoll_event *events, int most, uint64_t until);

/* Makes the kernel's timers as exact as they get, and ends this process when its parent ends. */
void prepare_process(void);

/* Durations in ns, all kept: percentiles are exact. */
struct samples {
    uint64_t *values;
    size_t count, room;
};
void add_sample(struct samples *samples, uint64_t value);
/* Prints `"name":{"p50":…,"p99":…,"p999":…,"max":…},` in µs; nothing when there are no samples. Sorts them. */
void print_samples(const char *name, struct samples *samples);

/* Processes whose use of the machine is summed. */
struct processes {
    int ids[256];
    size_t count;
};
void parse_processes(struct processes *processes, const char *comma_separated);
/* User and system time so far, in seconds, all threads. */
double cpu_seconds(const struct processes *processes);
/* Proportional set size: pages shared by several processes count once in the sum. In bytes. */
double memory_bytes(const struct processes *processes);

#endif
