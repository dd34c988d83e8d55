/* kafka/ledger.c - see ledger.h.
 *
 * Three rings of VD_LEDGER_MAX_SPAN bits, indexed by offset modulo their size:
 *   open    delivered and not finished; offsets in [base, next)
 *   staged  a subset of open
 *   done    finished according to the restored map; offsets in [next, done_end)
 * An offset in [base, next) that is not open is finished. So a gap costs nothing, however wide.
 */
#include "kafka/ledger.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

#define WORDS       (VD_LEDGER_MAX_SPAN / 64)
#define HEADER_SIZE 19 /* 'V' 'D' version, base (8), partitions (4), bit count (4) */
#define CRC_SIZE    4
#define BYTES_MAX   (HEADER_SIZE + VD_LEDGER_MAX_SPAN / 8 + CRC_SIZE)

static_assert((VD_LEDGER_MAX_SPAN & (VD_LEDGER_MAX_SPAN - 1)) == 0,
              "the rings are indexed by mask");
static_assert(VD_LEDGER_TEXT_SIZE <= 4096, "offset.metadata.max.bytes of a broker, by default");

struct vd_ledger {
    int64_t base;
    int64_t next;
    int64_t done_end; /* end of what the restored map covers; 0: nothing */
    uint32_t span;
    uint32_t partitions;
    size_t open_count;
    size_t staged_count;
    uint64_t changes;   /* counts what encode() would show */
    uint64_t encoded;   /* changes at the last encode() */
    uint64_t committed; /* changes that the last committed map holds */
    uint64_t open[WORDS];
    uint64_t staged[WORDS];
    uint64_t done[WORDS];
};

static size_t slot(int64_t offset)
{
    return (size_t)offset & (VD_LEDGER_MAX_SPAN - 1);
}

static bool get(const uint64_t *ring, int64_t offset)
{
    return (ring[slot(offset) / 64] >> (slot(offset) % 64) & 1) != 0;
}

static void set(uint64_t *ring, int64_t offset)
{
    ring[slot(offset) / 64] |= UINT64_C(1) << (slot(offset) % 64);
}

static void clear(uint64_t *ring, int64_t offset)
{
    ring[slot(offset) / 64] &= ~(UINT64_C(1) << (slot(offset) % 64));
}

struct vd_ledger *vd_ledger_new(int64_t base, uint32_t span)
{
    struct vd_ledger *l;

    assert(base >= 0 && span >= 1 && span <= VD_LEDGER_MAX_SPAN);
    l = vd_alloc(sizeof(*l));
    if (l == NULL)
        return NULL;
    l->base = base;
    l->next = base;
    l->span = span;
    return l;
}

struct vd_ledger *vd_ledger_restore(const struct vd_ledger_map *map, uint32_t span)
{
    struct vd_ledger *l = vd_ledger_new(map->base, span);
    uint32_t i;

    if (l == NULL)
        return NULL;
    for (i = 0; i < map->bit_count; i++)
        if (vd_ledger_map_finished(map, map->base + i))
            set(l->done, map->base + i);
    l->done_end = map->base + map->bit_count;
    l->partitions = map->partitions;
    return l;
}

void *vd_ledger_free(struct vd_ledger *ledger)
{
    return vd_free(ledger);
}

/* Lowest offset in [from, next) that is open and, if staged ones count as finished, not staged; next if there is none. */
static int64_t lowest_open(const struct vd_ledger *l, int64_t from, bool staged_finished)
{
    int64_t end = l->base + VD_LEDGER_MAX_SPAN < l->next ? l->base + VD_LEDGER_MAX_SPAN : l->next;
    int64_t o = from;

    while (o < end) {
        size_t word = slot(o) / 64, bit = slot(o) % 64;
        uint64_t bits = l->open[word] & ~(staged_finished ? l->staged[word] : 0);

        bits >>= bit;
        if (bits != 0) {
            o += __builtin_ctzll(bits);
            return o < end ? o : l->next;
        }
        o += (int64_t)(64 - bit);
    }
    return l->next;
}

static int64_t lowest_unfinished(const struct vd_ledger *l, bool staged_finished)
{
    int64_t o = lowest_open(l, l->base, staged_finished);

    if (o == l->next)
        while (o < l->done_end && get(l->done, o))
            o++;
    return o;
}

static void forget_done(struct vd_ledger *l, int64_t from, int64_t to)
{
    for (; from < to && from < l->done_end; from++)
        clear(l->done, from);
}

static void advance(struct vd_ledger *l)
{
    int64_t base = lowest_unfinished(l, false);

    l->base = base;
    if (l->next < base) {
        forget_done(l, l->next, base);
        l->next = base;
    }
}

void vd_ledger_gap(struct vd_ledger *l, int64_t next)
{
    int64_t o;

    if (next <= l->next)
        return;
    for (o = l->next; o < next && o < l->done_end; o++)
        if (!get(l->done, o))
            break;
    if (o < next)
        l->changes++; /* the restored map did not know it as finished */
    forget_done(l, l->next, next);
    l->next = next;
    advance(l);
}

enum vd_ledger_verdict vd_ledger_deliver(struct vd_ledger *l, int64_t offset)
{
    bool done;

    if (offset < l->next)
        return VD_LEDGER_SKIP;
    vd_ledger_gap(l, offset);
    if (offset < l->next)
        return VD_LEDGER_SKIP; /* the gap joined what the map knows as finished, this offset included */
    if (offset >= l->base + l->span && !(offset < l->done_end && get(l->done, offset)))
        return VD_LEDGER_FULL;
    done = offset < l->done_end && get(l->done, offset);
    if (done)
        clear(l->done, offset);
    else
        set(l->open, offset);
    l->next = offset + 1;
    if (done)
        return VD_LEDGER_SKIP;
    l->open_count++;
    assert(offset >= l->base && offset < l->base + l->span); /* I1 */
    return VD_LEDGER_TAKE;
}

bool vd_ledger_has_room(const struct vd_ledger *l)
{
    return l->next < l->base + l->span || (l->next < l->done_end && get(l->done, l->next));
}

bool vd_ledger_stage(struct vd_ledger *l, int64_t offset)
{
    if (offset < l->base || offset >= l->next || offset >= l->base + VD_LEDGER_MAX_SPAN ||
        !get(l->open, offset) || get(l->staged, offset))
        return false;
    set(l->staged, offset);
    l->staged_count++;
    l->changes++;
    return true;
}

size_t vd_ledger_commit(struct vd_ledger *l)
{
    size_t n = l->staged_count, i;

    for (i = 0; i < WORDS; i++) {
        l->open[i] &= ~l->staged[i];
        l->staged[i] = 0;
    }
    l->open_count -= n;
    l->staged_count = 0;
    l->committed = l->encoded;
    advance(l);
    return n;
}

size_t vd_ledger_abort(struct vd_ledger *l)
{
    size_t n = l->staged_count;

    memset(l->staged, 0, sizeof(l->staged));
    l->staged_count = 0;
    return n;
}

int64_t vd_ledger_base(const struct vd_ledger *l)
{
    return l->base;
}

int64_t vd_ledger_next(const struct vd_ledger *l)
{
    return l->next;
}

size_t vd_ledger_open(const struct vd_ledger *l)
{
    return l->open_count;
}

uint32_t vd_ledger_span(const struct vd_ledger *l)
{
    int64_t end = l->next < l->base + VD_LEDGER_MAX_SPAN ? l->next : l->base + VD_LEDGER_MAX_SPAN;

    while (end > l->base && !get(l->open, end - 1))
        end--;
    return (uint32_t)(end - l->base);
}

bool vd_ledger_finished(const struct vd_ledger *l, int64_t offset)
{
    if (offset < l->base)
        return true;
    if (offset < l->next)
        return offset >= l->base + VD_LEDGER_MAX_SPAN || !get(l->open, offset);
    return offset < l->done_end && get(l->done, offset);
}

bool vd_ledger_dirty(const struct vd_ledger *l)
{
    return l->changes != l->committed;
}

void vd_ledger_set_partitions(struct vd_ledger *l, uint32_t count)
{
    l->partitions = count;
}

uint32_t vd_ledger_partitions(const struct vd_ledger *l)
{
    return l->partitions;
}

/* -- the map as text ------------------------------------------------------------------------------------------------ */

static void put_be(uint8_t *at, uint64_t v, size_t n)
{
    while (n > 0) {
        at[--n] = (uint8_t)v;
        v >>= 8;
    }
}

static uint64_t get_be(const uint8_t *at, size_t n)
{
    uint64_t v = 0;
    size_t i;

    for (i = 0; i < n; i++)
        v = v << 8 | at[i];
    return v;
}

static size_t write_map(const struct vd_ledger_map *map, char text[VD_LEDGER_TEXT_SIZE])
{
    uint8_t raw[BYTES_MAX];
    size_t bit_bytes = (map->bit_count + 7) / 8;
    size_t len = HEADER_SIZE + bit_bytes;

    raw[0] = 'V';
    raw[1] = 'D';
    raw[2] = VD_LEDGER_VERSION;
    put_be(raw + 3, (uint64_t)map->base, 8);
    put_be(raw + 11, map->partitions, 4);
    put_be(raw + 15, map->bit_count, 4);
    memcpy(raw + HEADER_SIZE, map->bits, bit_bytes);
    put_be(raw + len, vd_crc32((struct vd_span){(const char *)raw, len}), CRC_SIZE);
    len += CRC_SIZE;
    len = vd_base64_encode_to(text, (struct vd_span){(const char *)raw, len});
    text[len] = '\0';
    return len;
}

size_t vd_ledger_encode(struct vd_ledger *l, char text[VD_LEDGER_TEXT_SIZE], int64_t *ret_base)
{
    struct vd_ledger_map map = {.base = lowest_unfinished(l, true), .partitions = l->partitions};
    int64_t end = l->next > l->done_end ? l->next : l->done_end;
    int64_t o;

    if (end > map.base + VD_LEDGER_MAX_SPAN)
        end = map.base + VD_LEDGER_MAX_SPAN;
    for (o = map.base + 1; o < end; o++) {
        if (!vd_ledger_finished(l, o) && !(o < l->next && get(l->staged, o)))
            continue;
        map.bit_count = (uint32_t)(o - map.base) + 1;
        map.bits[(o - map.base) / 8] |= (uint8_t)(1u << ((o - map.base) % 8));
    }
    l->encoded = l->changes;
    *ret_base = map.base;
    return write_map(&map, text);
}

size_t vd_ledger_encode_plain(int64_t base, uint32_t partitions, char text[VD_LEDGER_TEXT_SIZE])
{
    struct vd_ledger_map map = {.base = base, .partitions = partitions};

    return write_map(&map, text);
}

enum vd_ledger_read vd_ledger_decode(struct vd_span text, struct vd_ledger_map *ret)
{
    struct vd_ledger_map map = {0};
    char again[VD_LEDGER_TEXT_SIZE];
    char bytes[BYTES_MAX + 3], magic[3];
    const uint8_t *raw = (const uint8_t *)bytes;
    size_t len;

    if (text.len == 0)
        return VD_LEDGER_READ_NONE;
    /* A newer version may be longer than anything known here: its first three bytes, four characters, tell. */
    if (text.len >= 4 && vd_base64_decode_to(magic, vd_span_sub(text, 0, 4), &len) && len == 3 &&
        magic[0] == 'V' && magic[1] == 'D' && (uint8_t)magic[2] > VD_LEDGER_VERSION)
        return VD_LEDGER_READ_NEWER;
    if (text.len >= VD_LEDGER_TEXT_SIZE || !vd_base64_decode_to(bytes, text, &len))
        return VD_LEDGER_READ_FOREIGN;
    if (len < HEADER_SIZE + CRC_SIZE || raw[0] != 'V' || raw[1] != 'D' ||
        raw[2] != VD_LEDGER_VERSION)
        return VD_LEDGER_READ_FOREIGN;
    map.base = (int64_t)get_be(raw + 3, 8);
    map.partitions = (uint32_t)get_be(raw + 11, 4);
    map.bit_count = (uint32_t)get_be(raw + 15, 4);
    if (map.base < 0 || map.base > INT64_MAX - 2 * VD_LEDGER_MAX_SPAN ||
        map.bit_count > VD_LEDGER_MAX_SPAN ||
        len != HEADER_SIZE + (map.bit_count + 7) / 8 + CRC_SIZE)
        return VD_LEDGER_READ_FOREIGN;
    memcpy(map.bits, raw + HEADER_SIZE, (map.bit_count + 7) / 8);
    /* Base itself is never finished, the last bit is, and no bit follows it. */
    if (map.bit_count != 0 && ((map.bits[0] & 1) != 0 ||
                               map.bits[(map.bit_count - 1) / 8] >> ((map.bit_count - 1) % 8) != 1))
        return VD_LEDGER_READ_FOREIGN;
    /* One text for one map: the checksum and every spelling of base64 are judged by writing it again. */
    if (write_map(&map, again) != text.len || memcmp(again, text.ptr, text.len) != 0)
        return VD_LEDGER_READ_FOREIGN;
    *ret = map;
    return VD_LEDGER_READ_OK;
}

bool vd_ledger_map_finished(const struct vd_ledger_map *map, int64_t offset)
{
    int64_t i = offset - map->base;

    if (i < 0)
        return true;
    return i < map->bit_count && (map->bits[i / 8] >> (i % 8) & 1) != 0;
}
