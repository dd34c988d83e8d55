/* base/hash.c - see hash.h. */
#include "base/hash.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"

#define HMAC_BLOCK_BYTES 64 /* of SHA-256 */

#define SMALL_BYTES 256 /* parts are short: what is added is collected before it is hashed */

struct vd_hasher {
    EVP_MD_CTX *ctx;
    size_t used;
    char small[SMALL_BYTES];
};

/* Fetching an algorithm looks through libcrypto's providers under locks, and a context is two allocations: together as much as hashing
 * a kilobyte. So the algorithm is fetched once, and each thread keeps a context for what is hashed in one go. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *fetched_sha256;
static pthread_key_t thread_context;

static void free_context(void *ctx)
{
    EVP_MD_CTX_free(ctx);
}

static void set_up(void)
{
    int rc = pthread_key_create(&thread_context, free_context);

    fetched_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    assert(fetched_sha256 != NULL && rc == 0); /* libcrypto's default provider has it */
}

static const EVP_MD *sha256(void)
{
    (void)pthread_once(&once, set_up);
    return fetched_sha256;
}

/* The thread's own; NULL when memory is out. */
static EVP_MD_CTX *begin(void)
{
    const EVP_MD *md = sha256();
    EVP_MD_CTX *ctx = pthread_getspecific(thread_context);

    if (ctx != NULL)
        return EVP_DigestInit_ex(ctx, NULL, NULL) == 1 ? ctx : NULL; /* again, in its own memory */
    ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestInit_ex(ctx, md, NULL) != 1 ||
        pthread_setspecific(thread_context, ctx) != 0) {
        EVP_MD_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

struct vd_hasher *vd_hasher_new(void)
{
    struct vd_hasher *h = vd_alloc(sizeof(*h));

    if (h == NULL)
        return NULL;
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL || EVP_DigestInit_ex(h->ctx, sha256(), NULL) != 1) {
        EVP_MD_CTX_free(h->ctx);
        return vd_free(h);
    }
    return h;
}

static void flush(struct vd_hasher *h)
{
    if (h->used > 0)
        (void)EVP_DigestUpdate(h->ctx, h->small, h->used);
    h->used = 0;
}

void vd_hasher_add(struct vd_hasher *h, struct vd_span bytes)
{
    if (bytes.len > SMALL_BYTES - h->used)
        flush(h);
    if (bytes.len > SMALL_BYTES) {
        (void)EVP_DigestUpdate(h->ctx, bytes.ptr, bytes.len);
    } else if (bytes.len > 0) {
        memcpy(h->small + h->used, bytes.ptr, bytes.len);
        h->used += bytes.len;
    }
}

void vd_hasher_part(struct vd_hasher *h, struct vd_span bytes)
{
    vd_hasher_part_i64(h, (int64_t)bytes.len);
    vd_hasher_add(h, bytes);
}

void vd_hasher_part_i64(struct vd_hasher *h, int64_t v)
{
    char big_endian[8];

    for (int i = 0; i < 8; i++)
        big_endian[i] = (char)(((uint64_t)v >> (56 - 8 * i)) & 0xff);
    vd_hasher_add(h, (struct vd_span){big_endian, sizeof(big_endian)});
}

struct vd_sha256 vd_hasher_finish(struct vd_hasher *take_h)
{
    struct vd_sha256 out = {{0}};

    flush(take_h);
    (void)EVP_DigestFinal_ex(take_h->ctx, out.bytes, NULL);
    EVP_MD_CTX_free(take_h->ctx);
    (void)vd_free(take_h);
    return out;
}

struct vd_sha256 vd_sha256(struct vd_span bytes)
{
    struct vd_sha256 out = {{0}};
    EVP_MD_CTX *ctx = begin();

    if (ctx != NULL && EVP_DigestUpdate(ctx, bytes.len == 0 ? "" : bytes.ptr, bytes.len) == 1)
        (void)EVP_DigestFinal_ex(ctx, out.bytes, NULL);
    return out;
}

/* H(key ^ pad || bytes). */
static struct vd_sha256 padded(struct vd_span key, unsigned char pad, struct vd_span bytes)
{
    EVP_MD_CTX *ctx = begin();
    unsigned char block[HMAC_BLOCK_BYTES];
    struct vd_sha256 out = {{0}};

    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (unsigned char)((i < key.len ? (unsigned char)key.ptr[i] : 0) ^ pad);
    if (ctx != NULL && EVP_DigestUpdate(ctx, block, sizeof(block)) == 1 &&
        EVP_DigestUpdate(ctx, bytes.len == 0 ? "" : bytes.ptr, bytes.len) == 1)
        (void)EVP_DigestFinal_ex(ctx, out.bytes, NULL);
    return out;
}

/* RFC 2104 by hand: libcrypto 3's own HMAC fetches the MAC and its digest by name for each call, 4 us of them. */
struct vd_sha256 vd_hmac_sha256(struct vd_span key, struct vd_span bytes)
{
    struct vd_sha256 short_key, inner;

    if (key.len > HMAC_BLOCK_BYTES) {
        short_key = vd_sha256(key);
        key = (struct vd_span){(const char *)short_key.bytes, VD_SHA256_BYTES};
    }
    inner = padded(key, 0x36, bytes);
    return padded(key, 0x5c, (struct vd_span){(const char *)inner.bytes, VD_SHA256_BYTES});
}

void vd_sha256_hex(const struct vd_sha256 *digest, char out[VD_SHA256_HEX_SIZE])
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < VD_SHA256_BYTES; i++) {
        out[2 * i] = hex[digest->bytes[i] >> 4];
        out[2 * i + 1] = hex[digest->bytes[i] & 15];
    }
    out[VD_SHA256_HEX_SIZE - 1] = '\0';
}

void vd_sha1_hex(struct vd_span bytes, char out[VD_SHA1_HEX_SIZE])
{
    unsigned char digest[SHA_DIGEST_LENGTH];

    (void)SHA1((const unsigned char *)(bytes.len == 0 ? "" : bytes.ptr), bytes.len, digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

uint32_t vd_crc32(struct vd_span bytes)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), (const unsigned char *)bytes.ptr, bytes.len);
}

uint64_t vd_hash64(uint64_t seed, struct vd_span bytes)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

    for (size_t i = 0; i < bytes.len; i++)
        h = (h ^ (unsigned char)bytes.ptr[i]) * UINT64_C(0x100000001b3);
    /* FNV's low bits are weak for tables of a power of two. */
    return h ^ (h >> 29);
}

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* One to three bytes as four characters. */
static void encode_group(const char *bytes, size_t n, char quad[4])
{
    uint32_t v = 0;

    for (size_t j = 0; j < 3; j++)
        v = v << 8 | (j < n ? (unsigned char)bytes[j] : 0);
    for (size_t j = 0; j < 4; j++)
        quad[j] = j <= n ? base64_alphabet[v >> (18 - 6 * j) & 63] : '=';
}

enum vd_code vd_base64_encode(struct vd_buf *out, struct vd_span bytes)
{
    char quad[4];

    for (size_t i = 0; i < bytes.len; i += 3) {
        encode_group(bytes.ptr + i, bytes.len - i < 3 ? bytes.len - i : 3, quad);
        (void)vd_buf_add(out, (struct vd_span){quad, 4});
    }
    return out->failed;
}

size_t vd_base64_encode_to(char *out, struct vd_span bytes)
{
    size_t len = 0;

    for (size_t i = 0; i < bytes.len; i += 3, len += 4)
        encode_group(bytes.ptr + i, bytes.len - i < 3 ? bytes.len - i : 3, out + len);
    return len;
}

/* Value of a base64 character, -1 when it is none. */
static int sextet(char c)
{
    const char *at = c == '\0' ? NULL : strchr(base64_alphabet, c);

    return at == NULL ? -1 : (int)(at - base64_alphabet);
}

/* Four characters as one to three bytes; 0 when they are malformed. Padding is allowed in the last group. */
static size_t decode_group(const char *quad, bool last, char bytes[3])
{
    size_t pad = last ? (quad[3] == '=') + (size_t)(quad[3] == '=' && quad[2] == '=') : 0;
    uint32_t v = 0;

    for (size_t j = 0; j < 4; j++) {
        int s = j >= 4 - pad ? 0 : sextet(quad[j]);

        if (s < 0)
            return 0;
        v = v << 6 | (uint32_t)s;
    }
    /* Bits beyond the last byte must be zero, or two texts would mean the same bytes. */
    if ((pad == 1 && (v & 0xff) != 0) || (pad == 2 && (v & 0xffff) != 0))
        return 0;
    for (size_t j = 0; j < 3; j++)
        bytes[j] = (char)(v >> (16 - 8 * j) & 0xff);
    return 3 - pad;
}

enum vd_code vd_base64_decode(struct vd_buf *out, struct vd_span text)
{
    size_t before = out->len, n = text.len % 4 == 0;

    for (size_t i = 0; i < text.len && n > 0; i += 4) {
        char bytes[3];

        n = decode_group(text.ptr + i, i + 4 == text.len, bytes);
        if (n > 0)
            (void)vd_buf_add(out, (struct vd_span){bytes, n});
    }
    if (n > 0)
        return out->failed;
    if (out->ptr != NULL)
        out->ptr[before] = '\0';
    out->len = before;
    return VD_E_INPUT;
}

bool vd_base64_decode_to(char *out, struct vd_span text, size_t *ret_len)
{
    size_t len = 0, n = text.len % 4 == 0;

    for (size_t i = 0; i < text.len && n > 0; i += 4) {
        char bytes[3];

        n = decode_group(text.ptr + i, i + 4 == text.len, bytes);
        memcpy(out + len, bytes, n);
        len += n;
    }
    if (n == 0)
        return false;
    *ret_len = len;
    return true;
}
