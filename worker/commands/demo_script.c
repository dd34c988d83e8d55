/* commands/demo_script.c - see demo_script.h. */
#include "commands/demo_script.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"

#define TEXT_MAX_BYTES (64u << 10)

/* demo.json, put here by the linker (Makefile). */
extern const char script_text[] __asm__("_binary_demo_json_start");
extern const char script_end[] __asm__("_binary_demo_json_end");

/* -- numbers in texts ---------------------------------------------------------------------------------------------------- */

/* Reads "%40" or "+7" at *at; 0 when there is none. */
static unsigned operand(struct vd_span text, size_t *at, char sign)
{
    unsigned value = 0;

    if (*at >= text.len || text.ptr[*at] != sign)
        return 0;
    for ((*at)++; *at < text.len && text.ptr[*at] >= '0' && text.ptr[*at] <= '9'; (*at)++)
        value = value * 10 + (unsigned)(text.ptr[*at] - '0');
    return value;
}

/* "{n%40+7}" at the start of text: its length, else 0. */
static size_t number_at(struct vd_span text, unsigned n, unsigned *ret)
{
    size_t at = 2;
    unsigned modulus, offset;

    if (!vd_span_starts(text, VD_LIT("{n")))
        return 0;
    modulus = operand(text, &at, '%');
    offset = operand(text, &at, '+');
    if (at >= text.len || text.ptr[at] != '}')
        return 0;
    *ret = (modulus > 0 ? n % modulus : n) + offset;
    return at + 1;
}

/* text with its numbers filled in; `"={n}"` loses its quotes and the sign. */
static void fill_in(struct vd_buf *out, struct vd_span text, unsigned n)
{
    size_t i = 0;

    while (i < text.len) {
        bool bare = vd_span_starts(vd_span_sub(text, i, text.len), VD_LIT("\"={n"));
        struct vd_span rest = vd_span_sub(text, i + (bare ? 2 : 0), text.len);
        unsigned value;
        size_t used = number_at(rest, n, &value);

        if (used == 0) {
            (void)vd_buf_add_char(out, text.ptr[i++]);
            continue;
        }
        (void)vd_buf_addf(out, "%u", value);
        i += used + (bare ? 3 : 0);
    }
}

/* -- the script ---------------------------------------------------------------------------------------------------------------- */

/* "@now-3600", "@date+2" */
static enum vd_code fill_clock(cJSON *word, struct vd_err *err)
{
    struct vd_span text = vd_json_string(word);
    bool date = vd_span_starts(text, VD_LIT("@date"));
    size_t at = date ? 5 : 4;
    char filled[VD_RFC3339_SIZE + 1];
    int64_t offset = 0;

    if (!date && !vd_span_starts(text, VD_LIT("@now")))
        return VD_OK;
    if (at < text.len && text.ptr[at] == '+')
        at++;
    if (at < text.len && !vd_parse_i64(vd_span_sub(text, at, text.len), &offset))
        return vd_err_set(err, VD_E_BUG, false, "demo.json: %.*s", (int)text.len, text.ptr);
    if (date) {
        vd_rfc3339_format(vd_wall_ms() + offset * 86400000, filled);
        filled[10] = '\0';
    } else {
        (void)snprintf(filled, sizeof(filled), "%lld", (long long)(vd_wall_ms() / 1000 + offset));
    }
    if (cJSON_SetValuestring(word, filled) == NULL)
        return vd_err_nomem(err, "demo");
    word->valueint = (int)strlen(filled);
    return VD_OK;
}

enum vd_code vd_demo_script(cJSON **ret_script, struct vd_err *err)
{
    struct vd_span text = {script_text, (uintptr_t)script_end - (uintptr_t)script_text};
    cJSON *command, *word;
    enum vd_code rc = vd_json_parse(text, ret_script, err);

    if (rc != VD_OK)
        return vd_err_wrap(err, rc, "demo.json");
    cJSON_ArrayForEach(command, cJSON_GetObjectItem(*ret_script, "redis"))
    {
        cJSON_ArrayForEach(word, command)
        {
            rc = fill_clock(word, err);
            if (rc != VD_OK)
                return rc;
        }
    }
    return VD_OK;
}

static enum vd_code fill_headers(const cJSON *sample, struct vd_demo_event *event)
{
    const cJSON *header;

    event->header_count = 0;
    cJSON_ArrayForEach(header, vd_json_get(sample, "headers"))
    {
        if (event->header_count == sizeof(event->headers) / sizeof(event->headers[0]))
            return VD_E_LIMIT;
        event->headers[event->header_count++] =
            (struct vd_header){vd_span_of(header->string), vd_json_string(header)};
    }
    return VD_OK;
}

enum vd_code vd_demo_event_make(const cJSON *sample, unsigned n, struct vd_demo_event *event,
                                struct vd_err *err)
{
    const cJSON *text = vd_json_get(sample, "text");
    struct vd_buf raw;
    enum vd_code rc = VD_OK;

    if (event->value.max == 0) {
        vd_buf_init(&event->key, VD_KEY_MAX_BYTES);
        vd_buf_init(&event->value, TEXT_MAX_BYTES);
    }
    vd_buf_clear(&event->key);
    vd_buf_clear(&event->value);
    vd_buf_init(&raw, TEXT_MAX_BYTES);
    event->topic = vd_json_get_string(sample, "topic").ptr;
    fill_in(&event->key, vd_json_get_string(sample, "key"), n);
    if (text != NULL)
        (void)vd_buf_add(&raw, vd_json_string(text));
    else
        rc = vd_json_write(&raw, vd_json_get(sample, "value"));
    if (rc == VD_OK)
        rc = raw.failed;
    fill_in(&event->value, vd_buf_span(&raw), n);
    vd_buf_free(&raw);
    if (rc == VD_OK)
        rc = event->value.failed;
    if (rc == VD_OK)
        rc = fill_headers(sample, event);
    return rc == VD_OK ? VD_OK : vd_err_set(err, rc, false, "demo.json: an event is too large");
}

void vd_demo_event_fini(struct vd_demo_event *event)
{
    vd_buf_free(&event->key);
    vd_buf_free(&event->value);
}

static int64_t share_of(const cJSON *sample)
{
    int64_t share = 0;

    (void)vd_json_int(vd_json_get(sample, "share"), &share);
    return share;
}

const cJSON *vd_demo_draw(const cJSON *volume, struct vd_prng *random)
{
    const cJSON *sample;
    int64_t all = 0, roll;

    cJSON_ArrayForEach(sample, volume) all += share_of(sample);
    roll = (int64_t)vd_prng_below(random, (uint64_t)all);
    cJSON_ArrayForEach(sample, volume)
    {
        roll -= share_of(sample);
        if (roll < 0)
            return sample;
    }
    return NULL;
}
