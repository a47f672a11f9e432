/* See response.h. */
#define _GNU_SOURCE
#include "response.h"

#include <stdlib.h>
#include <string.h>

#define MARK_BYTES (sizeof EVENT_MARK - 1)

void reset_response(struct response *r) {
    r->state = HEAD;
    r->status = 0;
    r->closes = false;
    r->first_byte = r->body_bytes = r->left = 0;
    r->events = 0;
    r->held = r->line_bytes = 0;
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static void read_head(struct response *r, size_t head_bytes) {
    r->text[head_bytes - 1] = 0;
    if (strncmp(r->text, "HTTP/1.1 ", 9)) {
        r->state = BROKEN;
        return;
    }
    r->status = atoi(r->text + 9);
    r->closes = strcasestr(r->text, "\r\nconnection: close");
    const char *length = strcasestr(r->text, "\r\ncontent-length:");
    if (strcasestr(r->text, "\r\ntransfer-encoding: chunked")) {
        r->state = CHUNK_SIZE;
    } else if (length) {
        r->left = strtoull(length + 17, NULL, 10);
        r->state = r->left ? SIZED_BODY : WHOLE;
    } else {
        r->state = BROKEN; /* a body until the end of the connection could not be told from a broken one */
    }
}

/* Gathers a line; true when it is whole, its end left out. */
static bool gather_line(struct response *r, char byte) {
    if (byte == '\n' && r->line_bytes && r->line[r->line_bytes - 1] == '\r') {
        r->line[r->line_bytes - 1] = 0;
        r->line_bytes = 0;
        return true;
    }
    if (r->line_bytes == sizeof r->line)
        r->state = BROKEN;
    else
        r->line[r->line_bytes++] = byte;
    return false;
}

/* Looks for events, which may be split at any place. */
static void scan(struct response *r, const char *data, size_t length, on_event *event, void *context) {
    while (length) {
        size_t count = smaller(length, sizeof r->text - r->held), at = 0;
        memcpy(r->text + r->held, data, count);
        r->held += count;
        data += count;
        length -= count;
        const char *found;
        while ((found = memmem(r->text + at, r->held - at, EVENT_MARK, MARK_BYTES))) {
            size_t begin = (size_t)(found - r->text);
            if (begin + MARK_BYTES + EVENT_STAMP_BYTES > r->held) break;
            unsigned number = (unsigned)strtoul(found + MARK_BYTES, NULL, 10);
            if (number != r->events) r->state = BROKEN;
            r->events++;
            event(context, number, strtoull(found + MARK_BYTES + 9, NULL, 10));
            at = begin + MARK_BYTES + EVENT_STAMP_BYTES;
        }
        if (found)
            at = (size_t)(found - r->text);
        else if (r->held - at >= MARK_BYTES)
            at = r->held - (MARK_BYTES - 1);
        r->held -= at;
        memmove(r->text, r->text + at, r->held);
    }
}

void read_response(struct response *r, const char *data, size_t length, uint64_t now, on_event *event,
                   void *context) {
    if (length && !r->first_byte) r->first_byte = now;
    while (length && r->state != BROKEN) {
        size_t count = 1;
        switch (r->state) {
        case HEAD: {
            size_t before = r->held;
            count = smaller(length, sizeof r->text - before);
            memcpy(r->text + before, data, count);
            r->held += count;
            const char *end = memmem(r->text, r->held, "\r\n\r\n", 4);
            if (!end) {
                if (r->held == sizeof r->text) r->state = BROKEN;
                break;
            }
            size_t head_bytes = (size_t)(end - r->text) + 4;
            count = head_bytes - before;
            r->held = 0;
            read_head(r, head_bytes);
            break;
        }
        case CHUNK_SIZE:
            if (gather_line(r, *data)) {
                char *end;
                r->left = strtoull(r->line, &end, 16);
                r->state = end == r->line || *end ? BROKEN : r->left ? CHUNK : TRAILER;
            }
            break;
        case CHUNK_END:
            if (gather_line(r, *data)) r->state = *r->line ? BROKEN : CHUNK_SIZE;
            break;
        case TRAILER:
            if (gather_line(r, *data)) r->state = *r->line ? BROKEN : WHOLE;
            break;
        case SIZED_BODY:
        case CHUNK:
            count = smaller(length, r->left);
            r->left -= count;
            r->body_bytes += count;
            if (!r->left) r->state = r->state == CHUNK ? CHUNK_END : WHOLE;
            if (event) scan(r, data, count, event, context);
            break;
        default:
            r->state = BROKEN; /* more than was announced */
        }
        data += count;
        length -= count;
    }
}
