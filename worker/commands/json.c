/* commands/json.c - verdict json: is it JSON? */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/limits.h"
#include "commands/commands.h"
#include "commands/input.h"

static void answer_row(void *arg, const cJSON *row, struct vd_buf *out)
{
    const cJSON *encoded = vd_json_get(row, "bytes_base64");
    struct vd_err err = {.msg = ""};
    struct vd_buf bytes;

    (void)arg;
    vd_buf_init(&bytes, VD_JSON_MAX_BYTES);
    if (encoded == NULL || !cJSON_IsString(encoded) ||
        vd_base64_decode(&bytes, vd_json_string(encoded)) != VD_OK) {
        vd_input_answer_error(out, "bytes_base64 must be a string in base64");
    } else if (vd_json_check(vd_buf_span(&bytes), &err) == VD_OK) {
        (void)vd_buf_add_c(out, "{\"accept\":true}");
    } else {
        bool json = vd_json_check_rfc8259(vd_buf_span(&bytes), NULL) == VD_OK;

        (void)vd_buf_add_c(out,
                           json ? "{\"accept\":true,\"warning\":" : "{\"accept\":false,\"error\":");
        (void)vd_buf_add_json_string(out, vd_span_of(err.msg));
        (void)vd_buf_add_char(out, '}');
    }
    vd_buf_free(&bytes);
}

static int check_file(const char *path, bool print)
{
    struct vd_err err = {.msg = ""};
    struct vd_buf text;
    cJSON *tree = NULL;
    int status = EX_OK;

    vd_buf_init(&text, VD_JSON_MAX_BYTES);
    if (vd_file_read(path, &text, &err) != VD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        status = EX_NOINPUT;
    } else if (vd_json_parse(vd_buf_span(&text), &tree, &err) != VD_OK) {
        fprintf(stderr, "%s: %s\n", path, err.msg);
        status = EX_DATAERR;
    } else if (print) {
        vd_buf_clear(&text);
        if (vd_json_write_pretty(&text, tree) == VD_OK)
            printf("%.*s\n", (int)text.len, text.ptr);
    } else {
        printf("%s: is JSON\n", path);
    }
    (void)vd_json_free(tree);
    vd_buf_free(&text);
    return status;
}

static int run(const struct vd_args *args)
{
    int status = EX_OK;

    if (vd_args_has(args, "batch")) {
        if (vd_args_operand_count(args) > 0) {
            fprintf(stderr, "verdict json: --batch reads standard input and takes no files\n");
            return EX_USAGE;
        }
        return vd_input_batch(answer_row, NULL);
    }
    if (vd_args_operand_count(args) == 0) {
        fprintf(stderr, "verdict json: name a file (see `verdict json --help`)\n");
        return EX_USAGE;
    }
    for (size_t i = 0; i < vd_args_operand_count(args); i++) {
        int one = check_file(vd_args_operand(args, i), vd_args_has(args, "print"));

        status = one > status ? one : status;
    }
    return status;
}

static const struct vd_option options[] = {
    {"batch", 0, NULL, "one {\"bytes_base64\":...} a line in, one {\"accept\":...} a line out",
     false},
    {"print", 'p', NULL, "print the value, indented, instead of only checking it", false},
    {.name = NULL},
};

const struct vd_command vd_command_json = {
    .name = "json",
    .usage = "FILE... | --batch",
    .summary = "check that files are strict JSON",
    .about = "Reads each file as the worker reads events: RFC 8259, UTF-8, no duplicate keys, at "
             "most 64\n"
             "levels deep. What is wrong is told with line and column. Exits 0 if all are JSON, 65 "
             "if not.\n\n"
             "  $ verdict json order.json\n"
             "  order.json: line 3, column 12: this key occurs twice in its object\n\n"
             "  $ echo '{\"bytes_base64\":\"WzEsXQ==\"}' | verdict json --batch\n"
             "  {\"accept\":false,\"error\":\"line 1, column 4: a value is missing here\"}",
    .options = options,
    .min_operands = 0,
    .max_operands = 256,
    .run = run,
};
