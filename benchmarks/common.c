/* See common.h. */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

int wait_for_events(int epoll, struct epoll_event *events, int most, uint64_t until) {
    struct timespec left = {0};
    uint64_t now = until ? now_ns() : 0;
    if (until > now) {
        left.tv_sec = (time_t)((until - now) / SECOND_NS);
        left.tv_nsec = (long)((until - now) % SECOND_NS);
    }
    int count = epoll_pwait2(epoll, events, most, until ? &left : NULL, NULL);
    if (count < 0 && errno != EINTR) die("epoll_pwait2: %s", strerror(errno));
    return count < 0 ? 0 : count;
}

void prepare_process(void) {
    prctl(PR_SET_TIMERSLACK, 1ul);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
}

void add_sample(struct samples *samples, uint64_t value) {
    if (samples->count == samples->room) {
        samples->room = samples->room ? 2 * samples->room : 65536;
        samples->values = realloc(samples->values, samples->room * sizeof *samples->values);
        if (!samples->values) die("out of memory");
    }
    samples->values[samples->count++] = value;
}

static int by_value(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

void print_samples(const char *name, struct samples *samples) {
    if (!samples->count) return;
    qsort(samples->values, samples->count, sizeof *samples->values, by_value);
    static const struct {
        const char *name;
        double share;
    } wanted[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}};
    printf("\"%s\":{", name);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        size_t at = (size_t)(wanted[i].share * (double)(samples->count - 1) + 0.5);
        printf("%s\"%s\":%.3f", i ? "," : "", wanted[i].name, (double)samples->values[at] / 1000);
    }
    printf("},");
}

void parse_processes(struct processes *processes, const char *comma_separated) {
    char *end;
    for (const char *at = comma_separated; *at; at = *end ? end + 1 : end) {
        if (processes->count == sizeof processes->ids / sizeof *processes->ids) die("too many processes");
        processes->ids[processes->count++] = (int)strtol(at, &end, 10);
    }
}

/* The text of /proc/ID/FILE; empty when it can't be read. */
static void read_proc(int id, const char *file, char *text, size_t room) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", id, file);
    FILE *stream = fopen(path, "r");
    size_t length = stream ? fread(text, 1, room - 1, stream) : 0;
    if (stream) fclose(stream);
    text[length] = 0;
}

double cpu_seconds(const struct processes *processes) {
    double ticks = 0;
    for (size_t i = 0; i < processes->count; i++) {
        char text[2048];
        unsigned long user, system;
        read_proc(processes->ids[i], "stat", text, sizeof text);
        /* The name, field 2, may hold anything: count from its closing bracket. */
        char *after_name = strrchr(text, ')');
        if (!after_name || sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                                  &user, &system) != 2)
            die("process %d has ended", processes->ids[i]);
        ticks += (double)(user + system);
    }
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

double memory_bytes(const struct processes *processes) {
    double kilobytes = 0;
    for (size_t i = 0; i < processes->count; i++) {
        char text[4096];
        read_proc(processes->ids[i], "smaps_rollup", text, sizeof text);
        char *line = strstr(text, "\nPss:");
        if (!line) die("process %d has ended, or its memory can't be read", processes->ids[i]);
        kilobytes += strtod(line + 5, NULL);
    }
    return kilobytes * 1024;
}
