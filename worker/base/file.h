/* base/file.h - whole files, with a cap.
 *
 * Thread:   any; blocking: never on the loop thread.
 * Errors:   VD_E_CONFIG when it cannot be opened or read (the path and the cause), VD_E_LIMIT above max_bytes.
 */
#ifndef VD_BASE_FILE_H
#define VD_BASE_FILE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends the bytes of path to out, which has its own maximum. */
enum vd_code vd_file_read(const char *path, struct vd_buf *out, struct vd_err *err) VD_MUST_CHECK;
bool vd_file_is_folder(const char *path);
/* The folder part of path ("." when there is none), and dir + "/" + name. Owned by the caller (vd_free); NULL without memory. */
char *vd_path_folder(const char *path);
char *vd_path_join(const char *dir, const char *name);
/* Does path, with every link followed, lie inside root? False when either does not exist. */
bool vd_path_inside(const char *path, const char *root);

#endif
