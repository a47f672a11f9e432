/* Reads one HTTP/1.1 response: enough of it to know that it is whole, and what it holds. */
#ifndef BENCHMARKS_RESPONSE_H
#define BENCHMARKS_RESPONSE_H

#include "common.h"

struct response {
    enum { HEAD, SIZED_BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, WHOLE, BROKEN } state;
    int status;
    bool closes;                 /* it asks for a new connection */
    uint64_t first_byte;         /* ns; when the first byte of its head came, 0: not yet */
    uint64_t body_bytes;
    unsigned events;             /* whole events, each one the next by its number */
    uint64_t left;               /* of the body, or of the chunk */
    size_t held;
    char text[4096];             /* the head, a chunk's first line, or the body's part that may hold an event */
    size_t line_bytes;
    char line[64];
};

/* Called for each event of a stream: its number, and when it was sent (ns). */
typedef void on_event(void *context, unsigned number, uint64_t sent);

/* Takes what came at `now` (ns). `event` may be NULL: the body is then only counted. */
void read_response(struct response *r, const char *data, size_t length, uint64_t now, on_event *event,
                   void *context);

/* Makes it ready for the next response. */
void reset_response(struct response *r);

#endif
