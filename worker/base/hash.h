/* base/hash.h - digests, checksums and the encodings they are written in.
 *
 * Why:      identity of policies, events and decisions; a map's checksum; keyed hashes of redacted values.
 * Source:   FIPS 180-4 (SHA-256), RFC 2104 (HMAC), through libcrypto; CRC-32 (zlib); RFC 4648 (base64).
 * Thread:   any.
 */
#ifndef VD_BASE_HASH_H
#define VD_BASE_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

#define VD_SHA256_BYTES    32
#define VD_SHA256_HEX_SIZE 65 /* with the NUL */

struct vd_sha256 {
    unsigned char bytes[VD_SHA256_BYTES];
};

/* Incremental. Every part added through vd_hasher_part() is length-prefixed, so that ("ab","c") and ("a","bc") differ. */
struct vd_hasher;
struct vd_hasher *vd_hasher_new(void); /* NULL when memory is out */
void vd_hasher_add(struct vd_hasher *h, struct vd_span bytes);
void vd_hasher_part(struct vd_hasher *h, struct vd_span bytes);
void vd_hasher_part_i64(struct vd_hasher *h, int64_t v);
struct vd_sha256 vd_hasher_finish(struct vd_hasher *take_h); /* frees it */

struct vd_sha256 vd_sha256(struct vd_span bytes);
struct vd_sha256 vd_hmac_sha256(struct vd_span key, struct vd_span bytes);
void vd_sha256_hex(const struct vd_sha256 *digest, char out[VD_SHA256_HEX_SIZE]);
/* SHA-1 in hex, for the names Redis gives to scripts; never for anything that must be secure. */
#define VD_SHA1_HEX_SIZE 41
void vd_sha1_hex(struct vd_span bytes, char out[VD_SHA1_HEX_SIZE]);
uint32_t vd_crc32(struct vd_span bytes);
/* FNV-1a, for hash tables; not for hostile keys where collisions cost (use seeded). */
uint64_t vd_hash64(uint64_t seed, struct vd_span bytes);

enum vd_code vd_base64_encode(struct vd_buf *out, struct vd_span bytes);
/* Strict: alphabet and padding as RFC 4648 section 4, no blanks. VD_E_INPUT otherwise; out is unchanged then. */
enum vd_code vd_base64_decode(struct vd_buf *out, struct vd_span text) VD_MUST_CHECK;
/* The same without memory of their own. out has room for 4 characters for each 3 bytes begun, or 3 bytes for each 4 characters. */
size_t vd_base64_encode_to(char *out, struct vd_span bytes); /* returns the length; no NUL */
bool vd_base64_decode_to(char *out, struct vd_span text, size_t *ret_len) VD_MUST_CHECK;

#endif
