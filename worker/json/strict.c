/* json/strict.c - the strict reader; see json.h.
 *
 * One pass, no recursion: what is read becomes a node at once where a tree is wanted.
 *
 * Duplicate keys: each open object keeps its keys on a stack. Up to SMALL_OBJECT keys are compared as they come, behind a
 * 64-bit filter; a larger object is sorted once when it closes. No input makes it worse than O(n log n).
 */
#include <endian.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/limits.h"
#include "json/block.h"
#include "json/json.h"
#include "json/number.h"
#include "json/utf8.h"

#define FIRST_KEYS   64
#define SMALL_OBJECT 64
#define NODE_BYTES                                                                                 \
    80 /* of a tree for each value, beside the bytes of its text: a node, and what is rounded up */
#define EXACT_MAX (1LL << 53)

struct key {
    uint64_t hash;
    const char *ptr; /* decoded: into the text, or into the arena if it had escapes */
    uint32_t len;
    uint32_t at;
};

struct frame {
    bool object;
    bool started;    /* has at least one member or item */
    uint32_t first;  /* of this object's keys */
    uint64_t filter; /* one bit per key seen */
    cJSON *node;     /* where a tree is made */
};

struct scan {
    const char *start;
    const char *p;
    const char *end;
    struct frame *frames; /* VD_JSON_MAX_DEPTH */
    size_t depth;
    struct key *keys; /* first_keys, or on the heap */
    const struct key *first_keys;
    size_t key_count;
    size_t key_cap;
    struct vd_arena decoded;
    cJSON **root; /* of the tree that is made; NULL: the text is only checked */
    struct vd_block_writer writer;
    bool keys_may_repeat;
    struct vd_err *err;
};

/* What one string literal was. */
struct literal {
    struct vd_span raw; /* without quotes */
    uint32_t decoded_len;
    bool escaped;
    bool has_nul;
};

/* Doubles an array that starts in first, which is not on the heap. NULL when memory is out; items is unchanged then. */
static void *grow(void *items, const void *first, size_t *cap, size_t size)
{
    void *grown = items == first ? vd_realloc_array(NULL, *cap * 2, size)
                                 : vd_realloc_array(items, *cap * 2, size);

    if (grown == NULL)
        return NULL;
    if (items == first)
        memcpy(grown, first, *cap * size);
    *cap *= 2;
    return grown;
}

static enum vd_code fail(struct scan *s, enum vd_code code, const char *at, const char *reason)
{
    size_t line = 1;
    const char *line_start = s->start;

    for (const char *p = s->start; p < at; p++) {
        if (*p == '\n') {
            line++;
            line_start = p + 1;
        }
    }
    return vd_err_set(s->err, code, false, "line %zu, column %zu: %s", line,
                      vd_utf8_count((struct vd_span){line_start, (size_t)(at - line_start)}) + 1,
                      reason);
}

static enum vd_code refuse(struct scan *s, const char *at, const char *reason)
{
    return fail(s, VD_E_INPUT, at, at == s->end ? "the text ends too early" : reason);
}

static void skip_blanks(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

static bool digit(const struct scan *s, const char *p)
{
    return p < s->end && *p >= '0' && *p <= '9';
}

/* -- strings ----------------------------------------------------------------------------------------------------- */

static bool hex4(const struct scan *s, const char *p, uint32_t *ret)
{
    uint32_t v = 0;

    if (s->end - p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i];
        unsigned char low = c | 0x20;

        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v << 4 | (uint32_t)(low - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

/* The escape at s->p, which is on the backslash. *ret is the character. Moves s->p behind it. */
static enum vd_code scan_escape(struct scan *s, uint32_t *ret)
{
    static const char plain[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    const char *at = s->p;
    uint32_t low;

    if (s->end - at < 2)
        return refuse(s, s->end, "");
    if (at[1] != 'u') {
        for (const char *e = plain; *e != '\0'; e += 2) {
            if (*e == at[1]) {
                *ret = (unsigned char)e[1];
                s->p += 2;
                return VD_OK;
            }
        }
        return refuse(s, at,
                      "unknown escape: only \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX exist");
    }
    if (!hex4(s, at + 2, ret))
        return refuse(s, at, "\\u must be followed by four hexadecimal digits");
    s->p += 6;
    if (*ret < 0xD800 || *ret > 0xDFFF)
        return VD_OK;
    if (*ret > 0xDBFF || s->end - s->p < 2 || s->p[0] != '\\' || s->p[1] != 'u' ||
        !hex4(s, s->p + 2, &low) || low < 0xDC00 || low > 0xDFFF)
        return refuse(s, at, "half of a surrogate pair: it is no character by itself");
    *ret = 0x10000 + ((*ret - 0xD800) << 10 | (low - 0xDC00));
    s->p += 6;
    return VD_OK;
}

/* How many of the eight bytes at p come before a quote, a backslash, a control character or one outside ASCII: the classic test for a byte
 * below n in a word. Its borrow may flag bytes behind the first of them, never before it. */
static size_t plain_of_8(const char *p)
{
    const uint64_t ones = 0x0101010101010101u, tops = ones << 7;
    uint64_t w, quote, slash, others;

    memcpy(&w, p, sizeof(w));
    w = le64toh(w);
    quote = w ^ ones * '"';
    slash = w ^ ones * '\\';
    others = ((w - ones * 0x20) | (quote - ones) | (slash - ones) | w) & tops;
    return others == 0 ? 8 : (size_t)__builtin_ctzll(others) / 8;
}

static void skip_plain(struct scan *s)
{
    const char *p = s->p;
    size_t n = 8;

    while (n == 8 && s->end - p >= 8) {
        n = plain_of_8(p);
        p += n;
    }
    while (p < s->end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' &&
           *p != '\\')
        p++;
    s->p = p;
}

/* s->p is on the opening quote; moves behind the closing one. */
static enum vd_code scan_string(struct scan *s, struct literal *ret)
{
    const char *start = ++s->p;
    size_t saved = 0; /* bytes that escapes are longer than what they stand for */
    bool escaped = false, has_nul = false;
    char utf8[4];

    for (;;) {
        unsigned char c;

        skip_plain(s);
        if (s->p == s->end)
            return refuse(s, s->end, "");
        c = (unsigned char)*s->p;
        if (c == '"')
            break;
        if (c == '\\' && s->end - s->p > 1 && s->p[1] == '"') { /* nearly all of them */
            escaped = true;
            saved++;
            s->p += 2;
        } else if (c == '\\') {
            const char *at = s->p;
            uint32_t decoded;
            enum vd_code rc = scan_escape(s, &decoded);

            if (rc != VD_OK)
                return rc;
            escaped = true;
            has_nul = has_nul || decoded == 0;
            saved += (size_t)(s->p - at) - vd_utf8_put(utf8, decoded);
        } else if (c < 0x20) {
            return refuse(s, s->p, "control character in a string: write it as an escape");
        } else {
            size_t n = vd_utf8_len(s->p, s->end);

            if (n == 0)
                return refuse(s, s->p, "the bytes are not UTF-8");
            s->p += n;
        }
    }
    ret->raw.ptr = start;
    ret->raw.len = (size_t)(s->p - start);
    ret->decoded_len = (uint32_t)(ret->raw.len - saved);
    ret->escaped = escaped;
    ret->has_nul = has_nul;
    s->p++;
    return VD_OK;
}

/* -- keys -------------------------------------------------------------------------------------------------------- */

static uint64_t hash_key(const char *p, size_t len)
{
    const uint64_t mul = 0x9E3779B97F4A7C15u;
    uint64_t h = len * mul;
    uint64_t w;

    for (; len >= 8; p += 8, len -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * mul;
        h ^= h >> 29;
    }
    for (w = 0; len > 0; len--)
        w = w << 8 | (unsigned char)*p++;
    h = (h ^ w) * mul;
    return h ^ h >> 32;
}

static int compare_keys(const void *va, const void *vb)
{
    const struct key *a = va;
    const struct key *b = vb;
    int order;

    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    order = memcmp(a->ptr, b->ptr, a->len);
    if (order != 0)
        return order;
    return a->at < b->at ? -1 : 1; /* so that the later of two is reported */
}

static bool same_key(const struct key *a, const struct key *b)
{
    return a->hash == b->hash && a->len == b->len && memcmp(a->ptr, b->ptr, a->len) == 0;
}

static enum vd_code refuse_duplicate(struct scan *s, uint32_t at)
{
    return refuse(s, s->start + at, "this key occurs twice in its object");
}

static void decode_escapes(const struct literal *lit, char *out)
{
    struct scan sub = {.p = lit->raw.ptr, .end = lit->raw.ptr + lit->raw.len};

    /* By bytes: a model's answer is JSON in a string, with an escape every few of them. */
    while (sub.p < sub.end) {
        uint32_t c = 0;

        if (*sub.p != '\\') {
            *out++ = *sub.p++;
        } else if (sub.p[1] == '"') {
            *out++ = '"';
            sub.p += 2;
        } else if (scan_escape(&sub, &c) == VD_OK) {
            out += vd_utf8_put(out, c);
        } else {
            return; /* it was checked: not reached */
        }
    }
}

/* What a literal that was checked stands for: decoded_len bytes. */
static void decode(const struct literal *lit, char *out)
{
    if (lit->escaped)
        decode_escapes(lit, out);
    else
        memcpy(out, lit->raw.ptr, lit->raw.len);
}

/* The bytes that an escaped key stands for, in the arena. */
static enum vd_code decode_key(struct scan *s, const struct literal *lit, struct key *key)
{
    char *out = vd_arena_alloc(&s->decoded, (size_t)lit->decoded_len);

    if (out == NULL)
        return vd_err_nomem(s->err, "JSON key");
    decode(lit, out);
    key->ptr = out;
    return VD_OK;
}

/* Where the next key goes; NULL when memory is out. */
static struct key *next_key(struct scan *s)
{
    if (s->key_count == s->key_cap) {
        struct key *keys = grow(s->keys, s->first_keys, &s->key_cap, sizeof(*keys));

        if (keys == NULL)
            return NULL;
        s->keys = keys;
    }
    return &s->keys[s->key_count];
}

/* What is found out about a key is not copied: a copy would wait for what was just written in pieces. */
static enum vd_code scan_key(struct scan *s, struct frame *f, struct literal *lit)
{
    uint32_t at = (uint32_t)(s->p - s->start);
    struct key *key;
    uint64_t bit;
    enum vd_code rc = scan_string(s, lit);

    if (rc != VD_OK)
        return rc;
    if (lit->has_nul && s->root != NULL)
        return refuse(s, s->start + at, "a key may not hold U+0000 here");
    if (s->keys_may_repeat)
        return VD_OK;
    key = next_key(s);
    if (key == NULL)
        return vd_err_nomem(s->err, "JSON keys");
    key->at = at;
    key->ptr = lit->raw.ptr;
    key->len = lit->decoded_len;
    if (lit->escaped) {
        rc = decode_key(s, lit, key);
        if (rc != VD_OK)
            return rc;
    }
    key->hash = hash_key(key->ptr, key->len);
    bit = 1ull << (key->hash & 63);
    if ((f->filter & bit) != 0 && s->key_count - f->first < SMALL_OBJECT)
        for (size_t i = f->first; i < s->key_count; i++)
            if (same_key(&s->keys[i], key))
                return refuse_duplicate(s, at);
    f->filter |= bit;
    s->key_count++;
    return VD_OK;
}

/* An object closes: one with many keys is searched for duplicates now. The earliest repetition is reported. */
static enum vd_code close_object(struct scan *s, const struct frame *f)
{
    struct key *keys;
    size_t count = s->key_count - f->first;
    uint32_t first = UINT32_MAX;

    s->key_count = f->first;
    if (count <= SMALL_OBJECT)
        return VD_OK;
    keys = s->keys + f->first;
    qsort(keys, count, sizeof(*keys), compare_keys);
    for (size_t i = 1; i < count; i++)
        if (same_key(&keys[i - 1], &keys[i]) && keys[i].at < first)
            first = keys[i].at;
    return first == UINT32_MAX ? VD_OK : refuse_duplicate(s, first);
}

/* -- the tree ---------------------------------------------------------------------------------------------------- */

/* Adds the value that was just read to the innermost container. key: NULL outside of objects. Its string is NULL where string_len is
 * NO_STRING, else the caller's to fill. */
#define NO_STRING SIZE_MAX

static enum vd_code add_node(struct scan *s, int type, const struct literal *key, size_t string_len,
                             cJSON **ret_node)
{
    cJSON *node = vd_block_add(&s->writer, key == NULL ? SIZE_MAX : key->decoded_len, string_len);
    cJSON *parent = s->depth == 0 ? NULL : s->frames[s->depth - 1].node;

    if (node == NULL)
        return vd_err_nomem(s->err, "JSON tree");
    node->type |= type;
    if (key != NULL)
        decode(key, node->string);
    if (parent == NULL) {
        *s->root = node;
    } else if (parent->child == NULL) { /* cJSON's list: the first's prev is the last */
        parent->child = node->prev = node;
    } else {
        node->prev = parent->child->prev;
        node->prev->next = node;
        parent->child->prev = node;
    }
    *ret_node = node;
    return VD_OK;
}

static void set_number(cJSON *node, double v)
{
    node->valuedouble = v;
    node->valueint = v >= INT_MAX ? INT_MAX : v <= INT_MIN ? INT_MIN : (int)v; /* as cJSON does */
}

/* A number as its digits: no double holds it. */
static enum vd_code add_digits(struct scan *s, struct vd_span digits, int flags,
                               const struct literal *key)
{
    cJSON *node;
    enum vd_code rc = add_node(s, cJSON_Raw | flags, key, digits.len, &node);

    if (rc == VD_OK)
        memcpy(node->valuestring, digits.ptr, digits.len);
    return rc;
}

static enum vd_code add_number(struct scan *s, struct vd_span digits, bool real,
                               const struct literal *key)
{
    cJSON *node;
    int64_t whole = 0;
    double v;
    enum vd_code rc;

    if (!real && !(vd_parse_i64(digits, &whole) && whole >= -EXACT_MAX && whole <= EXACT_MAX))
        return add_digits(s, digits, VD_JSON_INTEGER, key);
    v = real ? vd_double_of_text(digits) : (double)whole;
    if (!isfinite(v))
        return add_digits(s, digits, 0, key);
    if (whole == 0 && !real && digits.ptr[0] == '-')
        v = -0.0;
    rc = add_node(s, real ? cJSON_Number : cJSON_Number | VD_JSON_INTEGER, key, NO_STRING, &node);
    if (rc == VD_OK)
        set_number(node, v);
    return rc;
}

/* -- values ------------------------------------------------------------------------------------------------------ */

static enum vd_code scan_number(struct scan *s, const struct literal *key)
{
    const char *at = s->p;
    const char *p = at + (*at == '-');
    bool real = false;

    if (!digit(s, p))
        return refuse(s, p, "a digit must follow the minus sign");
    if (*p == '0' && digit(s, p + 1))
        return refuse(s, p, "a number may not start with a zero");
    while (digit(s, p))
        p++;
    if (p < s->end && *p == '.') {
        real = true;
        if (!digit(s, ++p))
            return refuse(s, p, "a digit must follow the decimal point");
        while (digit(s, p))
            p++;
    }
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        real = true;
        p++;
        if (p < s->end && (*p == '+' || *p == '-'))
            p++;
        if (!digit(s, p))
            return refuse(s, p, "the exponent has no digits");
        while (digit(s, p))
            p++;
    }
    if (p - at > VD_JSON_MAX_NUMBER_LEN)
        return fail(s, VD_E_LIMIT, at, "the number has too many digits");
    s->p = p;
    return s->root == NULL ? VD_OK
                           : add_number(s, (struct vd_span){at, (size_t)(p - at)}, real, key);
}

static enum vd_code scan_word(struct scan *s, struct vd_span word, int type,
                              const struct literal *key)
{
    size_t left = (size_t)(s->end - s->p);
    cJSON *node;

    if (left < word.len && memcmp(s->p, word.ptr, left) == 0)
        return refuse(s, s->end, "");
    if (left < word.len || memcmp(s->p, word.ptr, word.len) != 0)
        return refuse(s, s->p, "not a value: the words are true, false and null");
    s->p += word.len;
    return s->root == NULL ? VD_OK : add_node(s, type, key, NO_STRING, &node);
}

_Static_assert(VD_JSON_MAX_DEPTH == 64, "the message below names it");

static enum vd_code open_container(struct scan *s, bool object, const struct literal *key)
{
    cJSON *node = NULL;
    enum vd_code rc = VD_OK;

    if (s->depth == VD_JSON_MAX_DEPTH)
        return fail(s, VD_E_LIMIT, s->p, "nested more than 64 levels deep");
    if (s->root != NULL)
        rc = add_node(s, object ? cJSON_Object : cJSON_Array, key, NO_STRING, &node);
    s->frames[s->depth++] =
        (struct frame){.object = object, .first = (uint32_t)s->key_count, .node = node};
    s->p++;
    return rc;
}

static enum vd_code scan_text(struct scan *s, const struct literal *key)
{
    struct literal lit;
    cJSON *node;
    enum vd_code rc = scan_string(s, &lit);

    if (rc != VD_OK || s->root == NULL)
        return rc;
    rc = add_node(s, cJSON_String, key, lit.decoded_len, &node);
    if (rc != VD_OK)
        return rc;
    decode(&lit, node->valuestring);
    if (lit.has_nul)
        node->valueint = (int)lit.decoded_len;
    return VD_OK;
}

/* A scalar, or the opening of a container. */
static enum vd_code scan_value(struct scan *s, const struct literal *key)
{
    skip_blanks(s);
    if (s->p == s->end)
        return refuse(s, s->end, "");
    switch (*s->p) {
    case '{':
    case '[':
        return open_container(s, *s->p == '{', key);
    case '"':
        return scan_text(s, key);
    case 't':
        return scan_word(s, VD_LIT("true"), cJSON_True, key);
    case 'f':
        return scan_word(s, VD_LIT("false"), cJSON_False, key);
    case 'n':
        return scan_word(s, VD_LIT("null"), cJSON_NULL, key);
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        return scan_number(s, key);
    case ']':
    case '}':
    case ',':
        return refuse(s, s->p, "a value is missing here");
    case '\'':
        return refuse(s, s->p, "strings are written in double quotes");
    case '/':
        return refuse(s, s->p, "JSON has no comments");
    default:
        return refuse(s, s->p, "not a value");
    }
}

static enum vd_code scan_member(struct scan *s, struct frame *f)
{
    struct literal key;
    enum vd_code rc;

    skip_blanks(s);
    if (s->p == s->end || *s->p != '"')
        return refuse(s, s->p, "a key in double quotes must stand here");
    rc = scan_key(s, f, &key);
    if (rc != VD_OK)
        return rc;
    skip_blanks(s);
    if (s->p == s->end || *s->p != ':')
        return refuse(s, s->p, "a colon must follow the key");
    s->p++;
    return scan_value(s, &key);
}

/* The next member or item of the innermost container, or its end. */
static enum vd_code scan_step(struct scan *s)
{
    struct frame *f = &s->frames[s->depth - 1];

    skip_blanks(s);
    if (s->p < s->end && *s->p == (f->object ? '}' : ']')) {
        s->p++;
        s->depth--;
        return f->object ? close_object(s, f) : VD_OK;
    }
    if (f->started) {
        if (s->p == s->end || *s->p != ',')
            return refuse(s, s->p,
                          f->object ? "a comma or } must stand here"
                                    : "a comma or ] must stand here");
        s->p++;
    }
    f->started = true;
    return f->object ? scan_member(s, f) : scan_value(s, NULL);
}

static enum vd_code scan_document(struct scan *s)
{
    enum vd_code rc;

    if (s->end - s->p >= 3 && memcmp(s->p, "\xEF\xBB\xBF", 3) == 0)
        return refuse(s, s->p, "the text starts with a byte order mark: remove it");
    rc = scan_value(s, NULL);
    while (rc == VD_OK && s->depth > 0)
        rc = scan_step(s);
    if (rc != VD_OK)
        return rc;
    skip_blanks(s);
    return s->p == s->end ? VD_OK : refuse(s, s->p, "something follows the value");
}

static enum vd_code scan_whole(struct scan *s, struct vd_span text)
{
    struct key first_keys[FIRST_KEYS];
    struct frame frames[VD_JSON_MAX_DEPTH];
    enum vd_code rc;

    if (text.len > VD_JSON_MAX_BYTES)
        return vd_err_set(s->err, VD_E_LIMIT, false, "the text is longer than %u bytes",
                          VD_JSON_MAX_BYTES);
    s->start = s->p = text.ptr == NULL ? "" : text.ptr;
    s->end = s->start + text.len;
    s->frames = frames;
    s->keys = first_keys;
    s->first_keys = first_keys;
    s->key_cap = FIRST_KEYS;
    vd_arena_init(&s->decoded, text.len * 20 + 1024); /* a decoded key of 2 bytes takes up to 32 */
    rc = scan_document(s);
    vd_arena_fini(&s->decoded);
    if (s->keys != first_keys)
        (void)vd_free(s->keys);
    s->keys = NULL;
    s->first_keys = NULL;
    s->frames = NULL;
    return rc;
}

/* How many of the eight bytes are c. */
static size_t count_in(uint64_t word, char c)
{
    const uint64_t ones = 0x0101010101010101u, sevens = 0x7F * ones;
    uint64_t x = word ^ ones * (unsigned char)c;
    uint64_t zeros = ~(((x & sevens) + sevens) | x | sevens); /* the top bit of each byte that is */

    return (size_t)((zeros >> 7) * ones >> 56);
}

/* About how large the tree of text is: a value follows each comma and each opening bracket. */
static size_t tree_bytes(struct vd_span text)
{
    size_t values = 2, i = 0;

    for (; text.len - i >= 8; i += 8) {
        uint64_t word;

        memcpy(&word, text.ptr + i, 8);
        /* With this bit both brackets are the same byte. */
        values += count_in(word, ',') + count_in(word | 0x2020202020202020u, '{');
    }
    return values * NODE_BYTES + text.len;
}

enum vd_code vd_json_parse(struct vd_span text, cJSON **ret_tree, struct vd_err *err)
{
    cJSON *root = NULL;
    struct scan s = {.root = &root, .err = err};
    enum vd_code rc;

    vd_block_writer_init(&s.writer, tree_bytes(text));
    rc = scan_whole(&s, text);
    vd_block_writer_fini(&s.writer);
    if (rc == VD_OK)
        *ret_tree = root;
    else
        (void)vd_json_free(root);
    return rc;
}

enum vd_code vd_json_check(struct vd_span text, struct vd_err *err)
{
    struct scan s = {.err = err};

    return scan_whole(&s, text);
}

enum vd_code vd_json_check_rfc8259(struct vd_span text, struct vd_err *err)
{
    struct scan s = {.keys_may_repeat = true, .err = err};

    return scan_whole(&s, text);
}
