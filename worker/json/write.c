/* json/write.c - trees to text: compact, canonical, and for people; see json.h.
 *
 * cJSON's printer is not used: it cuts strings at U+0000, knows no digits beyond a double, and has a history of over-reads.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "json/json.h"
#include "json/number.h"

struct writer {
    struct vd_buf *out;
    bool sorted;
    bool pretty;
};

static enum vd_code write_node(const struct writer *w, const cJSON *node, size_t depth);

static enum vd_code write_number(const struct writer *w, const cJSON *node)
{
    char text[VD_DOUBLE_TEXT_MAX];
    double v = node->valuedouble;

    if ((node->type & VD_JSON_INTEGER) != 0 && v != 0)
        return vd_buf_add_i64(w->out, (int64_t)v);
    if ((node->type & VD_JSON_INTEGER) != 0)
        return vd_buf_add_c(w->out, 1 / v < 0 ? "-0" : "0");
    if (v != v || v - v != 0)
        return vd_buf_add_c(w->out,
                            "null"); /* not a number, infinite: only from trees made by hand */
    return vd_buf_add(w->out, (struct vd_span){text, vd_double_text(v, text)});
}

static void new_line(const struct writer *w, size_t depth)
{
    if (!w->pretty)
        return;
    (void)vd_buf_add_char(w->out, '\n');
    for (size_t i = 0; i < depth; i++)
        (void)vd_buf_add_c(w->out, "  ");
}

static enum vd_code write_child(const struct writer *w, const cJSON *child, bool member, bool first,
                                size_t depth)
{
    if (!first)
        (void)vd_buf_add_char(w->out, ',');
    new_line(w, depth);
    if (member) {
        (void)vd_buf_add_json_string(w->out, vd_span_of(child->string));
        (void)vd_buf_add_c(w->out, w->pretty ? ": " : ":");
    }
    return write_node(w, child, depth);
}

static int compare_keys(const void *va, const void *vb)
{
    const cJSON *const *a = va;
    const cJSON *const *b = vb;

    return strcmp((*a)->string, (*b)->string); /* by unsigned bytes */
}

static enum vd_code write_sorted(const struct writer *w, const cJSON *object, size_t depth)
{
    const cJSON **members;
    const cJSON *child;
    size_t count = 0;
    size_t i = 0;
    enum vd_code rc = VD_OK;

    cJSON_ArrayForEach(child, object) count++;
    members = vd_alloc_array(count, sizeof(const cJSON *));
    if (members == NULL)
        return VD_E_NOMEM;
    cJSON_ArrayForEach(child, object) members[i++] = child;
    qsort(members, count, sizeof(const cJSON *), compare_keys);
    for (i = 0; rc == VD_OK && i < count; i++)
        rc = write_child(w, members[i], true, i == 0, depth + 1);
    (void)vd_free(members);
    return rc;
}

static enum vd_code write_container(const struct writer *w, const cJSON *node, bool object,
                                    size_t depth)
{
    enum vd_code rc = VD_OK;
    const cJSON *child;

    if (depth > VD_JSON_MAX_TREE_DEPTH)
        return VD_E_LIMIT;
    (void)vd_buf_add_char(w->out, object ? '{' : '[');
    if (object && w->sorted) {
        rc = write_sorted(w, node, depth);
    } else {
        cJSON_ArrayForEach(child, node)
        {
            rc = write_child(w, child, object, child == node->child, depth + 1);
            if (rc != VD_OK)
                break;
        }
    }
    if (node->child != NULL)
        new_line(w, depth);
    (void)vd_buf_add_char(w->out, object ? '}' : ']');
    return rc;
}

static enum vd_code write_node(const struct writer *w, const cJSON *node, size_t depth)
{
    enum vd_code rc;

    switch (node->type & 0xFF) {
    case cJSON_True:
        rc = vd_buf_add_c(w->out, "true");
        break;
    case cJSON_False:
        rc = vd_buf_add_c(w->out, "false");
        break;
    case cJSON_Number:
        rc = write_number(w, node);
        break;
    case cJSON_Raw:
        rc = vd_buf_add(w->out, vd_json_string(node));
        break;
    case cJSON_String:
        rc = vd_buf_add_json_string(w->out, vd_json_string(node));
        break;
    case cJSON_Array:
    case cJSON_Object:
        rc = write_container(w, node, (node->type & 0xFF) == cJSON_Object, depth);
        break;
    default:
        rc = vd_buf_add_c(w->out, "null");
        break;
    }
    return rc != VD_OK ? rc : w->out->failed;
}

enum vd_code vd_json_write(struct vd_buf *out, const cJSON *node)
{
    return write_node(&(struct writer){.out = out}, node, 0);
}

enum vd_code vd_json_write_canonical(struct vd_buf *out, const cJSON *node)
{
    return write_node(&(struct writer){.out = out, .sorted = true}, node, 0);
}

enum vd_code vd_json_write_pretty(struct vd_buf *out, const cJSON *node)
{
    return write_node(&(struct writer){.out = out, .pretty = true}, node, 0);
}
