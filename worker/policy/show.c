/* policy/show.c - see prompt.h: what `show` selects, redacted, cleaned, cut, and split by trust. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "json/block.h"
#include "json/utf8.h"
#include "policy/prompt.h"
#include "policy/redact.h"
#include "policy/walk.h"

#define SELECTION_BYTES 1024 /* of nodes that only point to what is selected */
#define DOCUMENT_BYTES  1500 /* of a clean copy: a dozen values */
#define SPLIT_BYTES     1200 /* of nodes that point into the copy */

struct showing {
    struct vd_facts *facts;
    struct vd_buf pointer; /* of the node being looked at */
    struct vd_prompt_cut *cuts;
    size_t cut_count, cut_cap;
    size_t nodes; /* that may still be copied */
    bool borrows; /* the selection need not be copied: nothing in it is redacted */
    bool nomem;
};

static void *out_of_memory(struct showing *s)
{
    s->nomem = true;
    return NULL;
}

/* -- characters -------------------------------------------------------------------------------------------------- */

static bool is_hidden(uint32_t c)
{
    static const struct {
        uint32_t from, to;
    } ranges[] = {
        {0x00, 0x08},       {0x0B, 0x1F},        {0x7F, 0x9F},     {0xAD, 0xAD},
        {0x34F, 0x34F},     {0x61C, 0x61C},      {0x115F, 0x1160}, {0x17B4, 0x17B5},
        {0x180B, 0x180F},   {0x200B, 0x200F},    {0x2028, 0x202E}, {0x2060, 0x206F},
        {0x3164, 0x3164},   {0xE000, 0xF8FF},    {0xFDD0, 0xFDEF}, {0xFE00, 0xFE0F},
        {0xFEFF, 0xFEFF},   {0xFFA0, 0xFFA0},    {0xFFF0, 0xFFFB}, {0xFFFE, 0xFFFF},
        {0xE0000, 0xE0FFF}, {0xF0000, 0x10FFFF},
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++)
        if (c >= ranges[i].from && c <= ranges[i].to)
            return true;
    return false;
}

/* How many characters from p on are printable ASCII: nothing to look at closely, and most of all text. */
static size_t ascii_run(const char *p, const char *end)
{
    const char *from = p;

    while (p < end && *p >= 0x20 && *p < 0x7F)
        p++;
    return (size_t)(p - from);
}

enum vd_code vd_prompt_clean(struct vd_arena *arena, struct vd_span text, struct vd_span *ret)
{
    char *out = vd_arena_bytes(arena, text.len + 1);
    size_t n = 0;

    if (out == NULL)
        return VD_E_NOMEM;
    for (const char *p = text.ptr, *end = text.ptr + text.len; p < end;) {
        size_t run = ascii_run(p, end);
        size_t len = run > 0 ? run : vd_utf8_len(p, end);

        if (len == 0) {
            p++;
            continue;
        }
        if (run > 0 || !is_hidden(vd_utf8_get(p, &len))) {
            memcpy(out + n, p, len);
            n += len;
        }
        p += len;
    }
    *ret = (struct vd_span){out, n};
    return VD_OK;
}

/* -- copying, with cuts ------------------------------------------------------------------------------------------ */

static void record_cut(struct showing *s, const char *path, size_t kept, size_t of, bool items)
{
    if (s->cut_count == s->cut_cap) {
        size_t cap = s->cut_cap == 0 ? 8 : s->cut_cap * 2;
        struct vd_prompt_cut *grown = vd_arena_array(vd_facts_arena(s->facts), cap, sizeof(*grown));

        if (grown == NULL) {
            (void)out_of_memory(s);
            return;
        }
        if (s->cut_count > 0)
            memcpy(grown, s->cuts, s->cut_count * sizeof(*grown));
        s->cuts = grown;
        s->cut_cap = cap;
    }
    path = vd_arena_strndup(vd_facts_arena(s->facts), vd_span_of(path));
    if (path == NULL)
        (void)out_of_memory(s);
    else
        s->cuts[s->cut_count++] = (struct vd_prompt_cut){path, kept, of, items};
}

/* A cut between two characters, at most max bytes. */
static size_t whole_characters(struct vd_span text, size_t max)
{
    size_t n = max;

    while (n > 0 && ((unsigned char)text.ptr[n] & 0xC0) == 0x80)
        n--;
    return n;
}

static bool is_plain(struct vd_span text)
{
    return ascii_run(text.ptr, text.ptr + text.len) == text.len;
}

static cJSON *clean_string(struct showing *s, const cJSON *node)
{
    struct vd_arena *arena = vd_facts_arena(s->facts);
    struct vd_arena_mark mark = vd_arena_mark(arena);
    struct vd_span text = vd_json_string(node);
    cJSON *copy;
    size_t kept, whole;

    if (!is_plain(text) && vd_prompt_clean(arena, text, &text) != VD_OK)
        return out_of_memory(s);
    whole = text.len;
    kept = whole > VD_PROMPT_MAX_STRING ? whole_characters(text, VD_PROMPT_MAX_STRING) : whole;
    copy = vd_json_new_string(vd_span_sub(text, 0, kept));
    vd_arena_rewind(arena, mark);
    if (kept < whole)
        record_cut(s, s->pointer.ptr, kept, whole, false);
    return copy != NULL ? copy : out_of_memory(s);
}

/* Appends "/key" to the pointer; returns the length before, for pop(). */
static size_t push(struct showing *s, struct vd_span key)
{
    size_t before = s->pointer.len;

    (void)vd_buf_add_char(&s->pointer, '/');
    for (size_t i = 0; i < key.len; i++) {
        if (key.ptr[i] == '~' || key.ptr[i] == '/')
            (void)vd_buf_add_c(&s->pointer, key.ptr[i] == '~' ? "~0" : "~1");
        else
            (void)vd_buf_add_char(&s->pointer, key.ptr[i]);
    }
    return before;
}

static size_t push_index(struct showing *s, size_t i)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%zu", i);

    return push(s, (struct vd_span){text, (size_t)n});
}

static void pop(struct showing *s, size_t before)
{
    s->pointer.len = before;
    if (s->pointer.ptr != NULL)
        s->pointer.ptr[before] = '\0';
}

static cJSON *clean_copy(struct showing *s, const cJSON *node);

/* Would cleaning leave it as it is? */
static bool is_clean(struct showing *s, struct vd_span text)
{
    struct vd_arena *arena = vd_facts_arena(s->facts);
    struct vd_arena_mark mark = vd_arena_mark(arena);
    struct vd_span clean;
    bool same;

    if (is_plain(text))
        return true;
    if (vd_prompt_clean(arena, text, &clean) != VD_OK)
        return out_of_memory(s) != NULL;
    same = vd_span_eq(clean, text);
    vd_arena_rewind(arena, mark);
    return same;
}

static cJSON *clean_object(struct showing *s, const cJSON *node)
{
    cJSON *copy = cJSON_CreateObject();
    const cJSON *member;

    cJSON_ArrayForEach(member, node)
    {
        struct vd_span key = vd_span_of(member->string);
        size_t before;

        /* A name with hidden characters, or longer than any name is, carries text that nobody reviews: it is left out. */
        if (key.len > VD_TEMPLATE_MAX_VALUE || !is_clean(s, key))
            continue;
        before = push(s, key);
        if (!vd_json_put(copy, member->string, clean_copy(s, member)))
            copy = vd_json_free(copy);
        pop(s, before);
        if (copy == NULL)
            return out_of_memory(s);
    }
    return copy;
}

static cJSON *clean_array(struct showing *s, const cJSON *node)
{
    cJSON *copy = cJSON_CreateArray();
    const cJSON *item;
    size_t i = 0;

    cJSON_ArrayForEach(item, node)
    {
        size_t before;

        if (i == VD_PROMPT_MAX_ITEMS) {
            record_cut(s, s->pointer.ptr, i, (size_t)cJSON_GetArraySize(node), true);
            break;
        }
        before = push_index(s, i++);
        if (!vd_json_append(copy, clean_copy(s, item)))
            copy = vd_json_free(copy);
        pop(s, before);
        if (copy == NULL)
            return out_of_memory(s);
    }
    return copy;
}

static cJSON *clean_copy(struct showing *s, const cJSON *node)
{
    if (s->nomem)
        return NULL;
    if (s->nodes == 0)
        return cJSON_CreateNull();
    s->nodes--;
    switch (vd_json_kind(node)) {
    case VD_JSON_STRING:
        return clean_string(s, node);
    case VD_JSON_OBJECT:
        return clean_object(s, node);
    case VD_JSON_ARRAY:
        return clean_array(s, node);
    default:
        return vd_json_copy(node);
    }
}

enum vd_code vd_prompt_clean_tree(struct vd_facts *facts, const cJSON *tree, cJSON **ret_tree,
                                  bool *ret_cut, struct vd_err *err)
{
    struct showing s = {.facts = facts, .nodes = VD_SHOW_MAX_NODES};
    cJSON *clean;

    vd_buf_init(&s.pointer, VD_EVENT_MAX_BYTES);
    (void)vd_buf_add_c(&s.pointer, "");
    clean = clean_copy(&s, tree);
    if (s.nomem || s.pointer.failed != VD_OK)
        clean = vd_json_free(clean);
    vd_buf_free(&s.pointer);
    if (clean == NULL)
        return vd_err_nomem(err, "shown facts");
    *ret_cut = *ret_cut || s.cut_count > 0 || s.nodes == 0;
    *ret_tree = clean;
    return VD_OK;
}

/* -- selecting --------------------------------------------------------------------------------------------------- */

static bool select_into(struct showing *s, const cJSON *from, cJSON *to, const struct vd_path *path,
                        size_t depth);

/* What stands for child in the selection: the whole of it at the end of the path, else a container of its kind. */
static cJSON *stand_in(const struct showing *s, const cJSON *child, bool last)
{
    if (last)
        return s->borrows ? vd_json_borrow(child) : vd_json_copy(child);
    if (vd_json_kind(child) == VD_JSON_ARRAY)
        return cJSON_CreateArray();
    return vd_json_kind(child) == VD_JSON_OBJECT ? cJSON_CreateObject() : cJSON_CreateNull();
}

/* All of it is selected already, and it is not ours to put anything into. */
static bool is_whole(const cJSON *node)
{
    return (node->type & cJSON_IsReference) != 0;
}

static bool is_container(const cJSON *node)
{
    return vd_json_kind(node) == VD_JSON_OBJECT || vd_json_kind(node) == VD_JSON_ARRAY;
}

static bool select_member(struct showing *s, const cJSON *child, cJSON *to,
                          const struct vd_path *path, size_t depth)
{
    bool last = depth + 1 == path->count;
    cJSON *there = (cJSON *)vd_json_get(to, child->string);

    if (there != NULL && is_whole(there))
        return true;
    if (there == NULL || last || !is_container(there)) {
        cJSON *fresh = stand_in(s, child, last);

        if (there != NULL)
            vd_json_free(cJSON_DetachItemViaPointer(to, there));
        if (!vd_json_put(to, child->string, fresh))
            return false;
        there = fresh;
    }
    return last || select_into(s, child, there, path, depth + 1);
}

static bool select_items(struct showing *s, const cJSON *from, cJSON *to,
                         const struct vd_path *path, size_t depth)
{
    const struct vd_path_segment *segment = &path->segments[depth];
    bool last = depth + 1 == path->count;
    const cJSON *item;
    cJSON *slot = to->child;
    uint64_t only = 0, i = 0;

    if (!segment->every && !vd_parse_u64(segment->name, UINT32_MAX, &only))
        return true;
    cJSON_ArrayForEach(item, from)
    {
        bool wanted = segment->every || i == only;

        if (s->nodes == 0)
            return true;
        s->nodes--;
        if (slot == NULL) {
            slot = cJSON_CreateNull();
            if (!vd_json_append(to, slot))
                return false;
        }
        if (wanted && !is_whole(slot) && (last || !is_container(slot))) {
            cJSON *fresh = stand_in(s, item, last);

            if (fresh == NULL || !vd_walk_replace(to, slot, fresh)) {
                vd_json_free(fresh);
                return false;
            }
            slot = fresh;
        }
        if (wanted && !last && !is_whole(slot) && !select_into(s, item, slot, path, depth + 1))
            return false;
        slot = slot->next;
        i++;
    }
    return true;
}

/* Copies what path names below from into to, keeping places. False: out of memory. */
static bool select_into(struct showing *s, const cJSON *from, cJSON *to, const struct vd_path *path,
                        size_t depth)
{
    const cJSON *child;

    if (vd_json_kind(from) == VD_JSON_ARRAY && vd_json_kind(to) == VD_JSON_ARRAY)
        return select_items(s, from, to, path, depth);
    if (vd_json_kind(from) != VD_JSON_OBJECT || vd_json_kind(to) != VD_JSON_OBJECT ||
        path->segments[depth].every)
        return true;
    child = vd_json_get_span(from, path->segments[depth].name);
    return child == NULL || select_member(s, child, to, path, depth);
}

static bool select_path(struct showing *s, cJSON *document, const struct vd_path *path)
{
    unsigned slot = vd_facts_slot(s->facts, path->segments[0].name);
    const cJSON *tree = vd_facts_tree(s->facts, slot);
    const char *name;
    cJSON *there;

    if (tree == NULL)
        return true;
    name = vd_facts_policy(s->facts)->slot_names[slot];
    there = (cJSON *)vd_json_get(document, name);
    if (there != NULL && is_whole(there))
        return true;
    if (there == NULL || path->count == 1) {
        cJSON *fresh = stand_in(s, tree, path->count == 1);

        if (there != NULL)
            vd_json_free(cJSON_DetachItemViaPointer(document, there));
        if (!vd_json_put(document, name, fresh))
            return false;
        there = fresh;
    }
    return path->count == 1 || select_into(s, tree, there, path, 1);
}

/* -- trust ------------------------------------------------------------------------------------------------------- */

/* Splits node: its trusted parts go to *trusted, the others to *untrusted, all borrowed from node; NULL where there are none. */
static bool split(struct showing *s, const cJSON *node, cJSON **trusted, cJSON **untrusted)
{
    bool array = vd_json_kind(node) == VD_JSON_ARRAY;
    const cJSON *child;
    size_t i = 0;

    *trusted = *untrusted = NULL;
    if (s->pointer.len > 0 && vd_facts_trusted(s->facts, vd_buf_span(&s->pointer))) {
        *trusted = vd_json_borrow(node);
        return *trusted != NULL;
    }
    if (!is_container(node) || node->child == NULL) {
        *untrusted = vd_json_borrow(node);
        return *untrusted != NULL;
    }
    cJSON_ArrayForEach(child, node)
    {
        cJSON *parts[2], **whole[2] = {trusted, untrusted};
        size_t before = array ? push_index(s, i) : push(s, vd_span_of(child->string));
        bool ok = split(s, child, &parts[0], &parts[1]);

        pop(s, before);
        for (int side = 0; side < 2; side++) {
            if (parts[side] == NULL && (!array || *whole[side] == NULL))
                continue;
            if (*whole[side] == NULL)
                *whole[side] = array ? cJSON_CreateArray() : cJSON_CreateObject();
            while (array && *whole[side] != NULL && (size_t)cJSON_GetArraySize(*whole[side]) < i)
                if (!vd_json_append(*whole[side], cJSON_CreateNull()))
                    return false;
            if (parts[side] == NULL)
                parts[side] = cJSON_CreateNull();
            ok = ok && (array ? vd_json_append(*whole[side], parts[side])
                              : vd_json_put(*whole[side], child->string, parts[side]));
        }
        if (!ok)
            return false;
        i++;
    }
    return true;
}

/* -- all of it --------------------------------------------------------------------------------------------------- */

static size_t json_size(const cJSON *node)
{
    struct vd_buf text;
    size_t size;

    vd_buf_init(&text, VD_EVENT_MAX_BYTES * 2);
    size = vd_json_write(&text, node) == VD_OK ? text.len : SIZE_MAX;
    vd_buf_free(&text);
    return size;
}

/* What the first `count` entries of show select. */
static cJSON *selection(struct showing *s, size_t count)
{
    const struct vd_policy *policy = vd_facts_policy(s->facts);
    cJSON *raw = cJSON_CreateObject();
    bool ok = raw != NULL;

    for (size_t i = 0; i < count && ok; i++)
        ok = select_path(s, raw, &policy->show[i]);
    return ok ? raw : vd_json_free(raw);
}

/* The document of the first `count` entries of show. */
static cJSON *document_of(struct showing *s, size_t count, struct vd_span key, size_t *ret_redacted)
{
    const struct vd_policy *policy = vd_facts_policy(s->facts);
    struct vd_json_scope scope;
    cJSON *raw, *clean = NULL;

    s->nodes = VD_SHOW_MAX_NODES;
    s->cut_count = 0;
    vd_json_scope_begin(&scope, SELECTION_BYTES);
    raw = selection(s, count);
    vd_json_scope_end(&scope);
    if (raw != NULL && vd_redact(policy, VD_REDACT_PROMPT, key, raw, ret_redacted, NULL) == VD_OK) {
        vd_json_scope_begin(&scope, DOCUMENT_BYTES);
        clean = clean_copy(s, raw);
        vd_json_scope_end(&scope);
    }
    vd_json_free(raw);
    for (size_t i = count; i < policy->show_count && clean != NULL; i++)
        record_cut(s, policy->show[i].text, 0, 1, true);
    return clean;
}

enum vd_code vd_prompt_show(struct vd_facts *facts, struct vd_span redact_key, size_t max_bytes,
                            struct vd_shown *ret, struct vd_err *err)
{
    struct showing s = {.facts = facts,
                        .borrows = !vd_redacts(vd_facts_policy(facts), VD_REDACT_PROMPT)};
    struct vd_shown shown = {0};
    size_t count = vd_facts_policy(facts)->show_count;

    if (max_bytes == 0 || max_bytes > VD_PROMPT_MAX_DATA)
        max_bytes = VD_PROMPT_MAX_DATA;
    vd_buf_init(&s.pointer, VD_EVENT_MAX_BYTES);
    (void)vd_buf_add_c(&s.pointer, "");
    for (;; count--) {
        shown.document = document_of(&s, count, redact_key, &shown.redacted);
        if (shown.document == NULL || count == 0 || json_size(shown.document) <= max_bytes)
            break;
        shown.document = vd_json_free(shown.document);
    }
    if (s.nomem || s.pointer.failed != VD_OK)
        shown.document = vd_json_free(shown.document);
    vd_buf_free(&s.pointer);
    if (shown.document == NULL)
        return vd_err_nomem(err, "shown facts");
    shown.cuts = s.cuts;
    shown.cut_count = s.cut_count;
    *ret = shown;
    return VD_OK;
}

void vd_shown_fini(struct vd_shown *shown)
{
    shown->document = vd_json_free(shown->document);
}

enum vd_code vd_prompt_split(struct vd_facts *facts, const cJSON *document, cJSON **ret_trusted,
                             cJSON **ret_untrusted, struct vd_err *err)
{
    struct showing s = {.facts = facts};
    struct vd_json_scope scope;
    cJSON *trusted = NULL, *untrusted = NULL;
    bool ok;

    vd_buf_init(&s.pointer, VD_EVENT_MAX_BYTES);
    (void)vd_buf_add_c(&s.pointer, "");
    vd_json_scope_begin(&scope, SPLIT_BYTES);
    ok = split(&s, document, &trusted, &untrusted) && s.pointer.failed == VD_OK;
    vd_json_scope_end(&scope);
    vd_buf_free(&s.pointer);
    if (!ok) {
        vd_json_free(trusted);
        vd_json_free(untrusted);
        return vd_err_nomem(err, "shown facts");
    }
    *ret_trusted = trusted;
    *ret_untrusted = untrusted;
    return VD_OK;
}
