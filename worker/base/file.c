/* base/file.c - see file.h. */
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"

enum vd_code vd_file_read(const char *path, struct vd_buf *out, struct vd_err *err)
{
    FILE *f = fopen(path, "rbe");
    char chunk[8192];
    enum vd_code rc = VD_OK;
    size_t n;

    if (f == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "%s: %s", path, strerror(errno));
    while (rc == VD_OK && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        rc = vd_buf_add(out, (struct vd_span){chunk, n});
    if (rc == VD_E_LIMIT)
        rc = vd_err_set(err, VD_E_LIMIT, false, "%s: larger than %zu bytes", path, out->max);
    else if (rc != VD_OK)
        rc = vd_err_nomem(err, path);
    else if (ferror(f))
        rc = vd_err_set(err, VD_E_CONFIG, false, "%s: %s", path, strerror(errno));
    (void)fclose(f);
    return rc;
}

bool vd_file_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *vd_path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return vd_strdup(".");
    if (slash == path)
        return vd_strdup("/");
    return vd_strndup((struct vd_span){path, (size_t)(slash - path)});
}

char *vd_path_join(const char *dir, const char *name)
{
    size_t a = strlen(dir), b = strlen(name);
    bool slash = a == 0 || dir[a - 1] != '/';
    char *joined = vd_alloc(a + b + 2);

    if (joined == NULL)
        return NULL;
    memcpy(joined, dir, a);
    if (slash)
        joined[a] = '/';
    memcpy(joined + a + (slash ? 1 : 0), name, b);
    return joined;
}

bool vd_path_inside(const char *path, const char *root)
{
    char real_path[PATH_MAX], real_root[PATH_MAX];
    size_t n;

    if (realpath(path, real_path) == NULL || realpath(root, real_root) == NULL)
        return false;
    n = strlen(real_root);
    if (strcmp(real_root, "/") == 0)
        return true;
    return strncmp(real_path, real_root, n) == 0 && (real_path[n] == '/' || real_path[n] == '\0');
}
