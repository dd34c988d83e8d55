/* model/key.c - see key.h. */
#include "model/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/limits.h"

#define LOOK_EVERY_MS 1000

struct vd_model_key {
    char *file;
    char *env;
    struct timespec changed; /* of the file that was read last */
    ino_t inode;
    off_t size;
    int64_t next_look_ms;
    bool looked;
    size_t len;
    char text[VD_MODEL_KEY_MAX_BYTES + 1];
    char missing[128];
};

enum vd_code vd_model_key_new(const char *file, const char *env, struct vd_model_key **ret_key,
                              struct vd_err *err)
{
    struct vd_model_key *key = vd_alloc(sizeof(*key));

    if (key == NULL)
        return vd_err_nomem(err, "key");
    key->file = vd_strdup(file);
    key->env = vd_strdup(env);
    if ((file != NULL && key->file == NULL) || (env != NULL && key->env == NULL)) {
        (void)vd_model_key_free(key);
        return vd_err_nomem(err, "key");
    }
    *ret_key = key;
    return VD_OK;
}

void *vd_model_key_free(struct vd_model_key *key)
{
    if (key == NULL)
        return NULL;
    explicit_bzero(key->text, sizeof(key->text));
    (void)vd_free(key->file);
    (void)vd_free(key->env);
    return vd_free(key);
}

/* Keep text, trimmed; true when it differs from what was there. */
static bool take(struct vd_model_key *key, struct vd_span text)
{
    bool changed;

    text = vd_span_trim(text);
    key->missing[0] = '\0';
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
            text.len = 0; /* a key is a header value: nothing else may be smuggled in */
    if (text.len == 0 || text.len > VD_MODEL_KEY_MAX_BYTES) {
        (void)snprintf(key->missing, sizeof(key->missing), "the key is empty or is no key");
        text.len = 0;
    }
    changed = !vd_span_eq(text, vd_model_key_get(key));
    explicit_bzero(key->text, sizeof(key->text));
    if (text.len > 0)
        memcpy(key->text, text.ptr, text.len);
    key->len = text.len;
    return changed;
}

static bool cannot(struct vd_model_key *key)
{
    /* The old key stays: a rotation that replaces the file may leave a gap. */
    (void)snprintf(key->missing, sizeof(key->missing), "cannot read the key file: %s",
                   strerror(errno));
    if (key->len > 0)
        key->missing[0] = '\0';
    return false;
}

static bool read_file(struct vd_model_key *key)
{
    char text[VD_MODEL_KEY_MAX_BYTES + 2];
    struct stat st;
    ssize_t n;
    bool changed;
    int fd = open(key->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return cannot(key);
    if (fstat(fd, &st) != 0 || (n = read(fd, text, sizeof(text))) < 0) {
        (void)close(fd);
        return cannot(key);
    }
    (void)close(fd);
    key->changed = st.st_mtim;
    key->inode = st.st_ino;
    key->size = st.st_size;
    changed = take(key, (struct vd_span){text, (size_t)n});
    explicit_bzero(text, sizeof(text));
    return changed;
}

static bool is_same_file(const struct vd_model_key *key)
{
    struct stat st;

    return key->len > 0 && stat(key->file, &st) == 0 && st.st_ino == key->inode &&
           st.st_size == key->size && st.st_mtim.tv_sec == key->changed.tv_sec &&
           st.st_mtim.tv_nsec == key->changed.tv_nsec;
}

bool vd_model_key_refresh(struct vd_model_key *key, int64_t mono_ms)
{
    bool first = !key->looked;

    if (!first && (key->file == NULL || mono_ms < key->next_look_ms))
        return false;
    key->looked = true;
    key->next_look_ms = mono_ms + LOOK_EVERY_MS;
    if (key->file != NULL)
        return (!is_same_file(key) && read_file(key)) || first;
    if (key->env != NULL) {
        const char *value = getenv(key->env);

        (void)take(key, vd_span_of(value));
        if (value == NULL)
            (void)snprintf(key->missing, sizeof(key->missing),
                           "the environment variable %.64s is not set", key->env);
    }
    return true;
}

struct vd_span vd_model_key_get(const struct vd_model_key *key)
{
    return (struct vd_span){key->text, key->len};
}

const char *vd_model_key_missing(const struct vd_model_key *key)
{
    return key->missing[0] != '\0' ? key->missing : NULL;
}
