/* pipeline/keys.c - see keys.h. */
#include "pipeline/keys.h"

#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"

#define FIRST_BUCKETS 256
#define SEEN_SLOTS    65536

struct vd_key_queue {
    struct vd_key_queue *next; /* in its bucket */
    uint64_t hash;
    struct vd_key_entry *first, *last;
    size_t count;
    size_t name_len;
    char name[]; /* what vd_keys_enter() was given, with separators */
};

struct seen {
    uint32_t fingerprint; /* 0: empty */
    int32_t partition;
};

struct vd_keys {
    vd_keys_ready_fn *ready;
    void *arg;
    uint64_t seed; /* keys come from outside: nobody can choose them to collide */
    struct vd_key_queue **buckets;
    size_t bucket_count; /* a power of two */
    size_t queue_count;
    struct seen *seen;
};

struct vd_keys *vd_keys_new(vd_keys_ready_fn *ready, void *arg)
{
    struct vd_keys *keys = vd_alloc(sizeof(*keys));

    if (keys == NULL)
        return NULL;
    keys->ready = ready;
    keys->arg = arg;
    keys->bucket_count = FIRST_BUCKETS;
    keys->buckets = vd_alloc_array(keys->bucket_count, sizeof(struct vd_key_queue *));
    keys->seen = vd_alloc_array(SEEN_SLOTS, sizeof(*keys->seen));
    if (keys->buckets == NULL || keys->seen == NULL)
        return vd_keys_free(keys);
    if (getrandom(&keys->seed, sizeof(keys->seed), GRND_NONBLOCK) != (ssize_t)sizeof(keys->seed))
        keys->seed = (uint64_t)vd_mono_us();
    return keys;
}

void *vd_keys_free(struct vd_keys *keys)
{
    if (keys == NULL)
        return NULL;
    assert(keys->queue_count == 0);
    (void)vd_free(keys->buckets);
    (void)vd_free(keys->seen);
    return vd_free(keys);
}

static void grow(struct vd_keys *keys)
{
    size_t count = keys->bucket_count * 2;
    struct vd_key_queue **buckets = vd_alloc_array(count, sizeof(struct vd_key_queue *));

    if (buckets == NULL)
        return; /* longer chains, nothing worse */
    for (size_t i = 0; i < keys->bucket_count; i++) {
        struct vd_key_queue *q = keys->buckets[i];

        while (q != NULL) {
            struct vd_key_queue *next = q->next;
            struct vd_key_queue **bucket = &buckets[q->hash & (count - 1)];

            q->next = *bucket;
            *bucket = q;
            q = next;
        }
    }
    (void)vd_free(keys->buckets);
    keys->buckets = buckets;
    keys->bucket_count = count;
}

static struct vd_key_queue *find(struct vd_keys *keys, uint64_t hash, struct vd_span name)
{
    struct vd_key_queue *q = keys->buckets[hash & (keys->bucket_count - 1)];

    while (q != NULL &&
           !(q->hash == hash && vd_span_eq((struct vd_span){q->name, q->name_len}, name)))
        q = q->next;
    return q;
}

static struct vd_key_queue *add(struct vd_keys *keys, uint64_t hash, struct vd_span name)
{
    struct vd_key_queue *q = vd_alloc(sizeof(*q) + name.len);
    struct vd_key_queue **bucket;

    if (q == NULL)
        return NULL;
    if (keys->queue_count >= keys->bucket_count)
        grow(keys);
    q->hash = hash;
    q->name_len = name.len;
    memcpy(q->name, name.ptr, name.len);
    bucket = &keys->buckets[hash & (keys->bucket_count - 1)];
    q->next = *bucket;
    *bucket = q;
    keys->queue_count++;
    return q;
}

static void drop(struct vd_keys *keys, struct vd_key_queue *q)
{
    struct vd_key_queue **at = &keys->buckets[q->hash & (keys->bucket_count - 1)];

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    keys->queue_count--;
    (void)vd_free(q);
}

enum vd_code vd_keys_enter(struct vd_keys *keys, struct vd_span topic, int32_t partition,
                           struct vd_span policy_id, struct vd_span key, struct vd_key_entry *entry,
                           size_t *ret_ahead)
{
    struct vd_buf text;
    struct vd_key_queue *q;
    uint64_t hash;

    vd_buf_init(&text, 4096);
    /* Neither topics nor policy ids hold a NUL. */
    (void)vd_buf_add(&text, topic);
    (void)vd_buf_add_char(&text, '\0');
    (void)vd_buf_add_i64(&text, partition);
    (void)vd_buf_add_char(&text, '\0');
    (void)vd_buf_add(&text, policy_id);
    (void)vd_buf_add_char(&text, '\0');
    if (vd_buf_add(&text, key) != VD_OK) {
        vd_buf_free(&text);
        return VD_E_NOMEM;
    }
    hash = vd_hash64(keys->seed, vd_buf_span(&text));
    q = find(keys, hash, vd_buf_span(&text));
    if (q == NULL)
        q = add(keys, hash, vd_buf_span(&text));
    vd_buf_free(&text);
    if (q == NULL)
        return VD_E_NOMEM;
    *ret_ahead = q->count;
    entry->queue = q;
    entry->next = NULL;
    entry->prev = q->last;
    if (q->last != NULL)
        q->last->next = entry;
    else
        q->first = entry;
    q->last = entry;
    q->count++;
    return VD_OK;
}

void vd_keys_leave(struct vd_keys *keys, struct vd_key_entry *entry)
{
    struct vd_key_queue *q = entry->queue;
    struct vd_key_entry *next;
    bool was_head;

    if (q == NULL)
        return;
    was_head = q->first == entry;
    next = entry->next;
    if (entry->prev != NULL)
        entry->prev->next = entry->next;
    else
        q->first = entry->next;
    if (entry->next != NULL)
        entry->next->prev = entry->prev;
    else
        q->last = entry->prev;
    entry->queue = NULL;
    entry->next = entry->prev = NULL;
    q->count--;
    if (q->count == 0)
        drop(keys, q);
    else if (was_head && next->job != NULL)
        keys->ready(keys->arg, next->job);
}

void vd_keys_replace(struct vd_key_entry *entry, struct vd_key_entry *taker)
{
    struct vd_key_queue *q = entry->queue;

    assert(q != NULL && taker->queue == NULL);
    taker->queue = q;
    taker->next = entry->next;
    taker->prev = entry->prev;
    if (entry->prev != NULL)
        entry->prev->next = taker;
    else
        q->first = taker;
    if (entry->next != NULL)
        entry->next->prev = taker;
    else
        q->last = taker;
    entry->queue = NULL;
    entry->next = entry->prev = NULL;
}

bool vd_keys_is_head(const struct vd_key_entry *entry)
{
    return entry->queue != NULL && entry->queue->first == entry;
}

size_t vd_keys_count(const struct vd_keys *keys)
{
    return keys->queue_count;
}

bool vd_keys_moved(struct vd_keys *keys, struct vd_span policy_id, struct vd_span key,
                   int32_t partition)
{
    uint64_t hash = vd_hash64(vd_hash64(keys->seed, policy_id), key);
    struct seen *seen = &keys->seen[hash % SEEN_SLOTS];
    uint32_t fingerprint = (uint32_t)(hash >> 32) | 1;
    bool moved = seen->fingerprint == fingerprint && seen->partition != partition;

    *seen = (struct seen){fingerprint, partition};
    return moved;
}
