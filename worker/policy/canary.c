/* policy/canary.c - see canary.h, and load.h for the section's reading. */
#include "policy/canary.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/limits.h"
#include "policy/load.h"

struct canary {
    double percent;
    const char *candidate;
};

static const struct vd_conf_row canary_rows[] = {
    {"percent", VD_CONF_T_NUMBER, offsetof(struct canary, percent), NULL, 0, 100, "%",
     VD_CONF_REQUIRED, "share of the keys that the candidate decides", NULL},
    {"candidate", VD_CONF_T_STRING, offsetof(struct canary, candidate), NULL, 5, 255, NULL,
     VD_CONF_REQUIRED, "candidate = \"next.cfg\", in the same folder", NULL},
    {.name = NULL},
};

static bool is_plain_file_name(const char *name)
{
    size_t n = strlen(name);

    return name[0] != '.' && strchr(name, '/') == NULL && n > 4 &&
           strcmp(name + n - 4, ".cfg") == 0;
}

void vd_ld_canary(struct vd_loader *ld, const struct vd_conf_node *node,
                  const struct vd_conf_node *head)
{
    struct vd_policy *p = ld->policy;
    struct canary c = {0};
    char *folder, *path;

    if ((p->mode == VD_MODE_CANARY) != (node != NULL)) {
        const struct vd_conf_node *at = node != NULL ? node : vd_conf_get(head, "mode");

        vd_diag_error(ld->diags, at->file, at->line,
                      "mode = \"canary\" with canary = { percent = 5; candidate = \"next.cfg\"; };",
                      node != NULL ? "canary says nothing unless policy.mode is \"canary\""
                                   : "mode is \"canary\", and there is no canary section");
        return;
    }
    if (node == NULL)
        return;
    p->mode = VD_MODE_ENFORCE; /* what this file decides; the candidate has the mode "canary" */
    vd_ld_read(ld, node, canary_rows, &c);
    if (c.candidate == NULL)
        return;
    if (!is_plain_file_name(c.candidate)) {
        vd_diag_error(ld->diags, node->file, node->line, "candidate = \"next.cfg\"",
                      "%s.candidate is \"%.80s\": not the name of a .cfg file beside this one",
                      node->path, c.candidate);
        return;
    }
    folder = vd_path_folder(p->file);
    path = folder == NULL ? NULL : vd_path_join(folder, c.candidate);
    if (path == NULL)
        vd_ld_nomem(ld);
    else
        p->candidate_file = vd_ld_string(ld, vd_span_of(path));
    p->canary_line = node->line;
    p->canary_share = (unsigned)lround(c.percent * (VD_CANARY_SHARES / 100));
    vd_free(path);
    vd_free(folder);
}

unsigned vd_canary_share_of(const char *policy_id, struct vd_span key)
{
    char text[VD_POLICY_ID_MAX_BYTES + 1 + VD_KEY_MAX_BYTES];
    size_t id_len = strlen(policy_id) + 1;
    struct vd_sha256 digest;
    uint64_t n = 0;

    assert(id_len + key.len <= sizeof(text));
    memcpy(text, policy_id, id_len); /* with its NUL */
    memcpy(text + id_len, key.ptr, key.len);
    digest = vd_sha256((struct vd_span){text, id_len + key.len});
    for (size_t i = 0; i < 8; i++)
        n = n << 8 | digest.bytes[i];
    return (unsigned)(n % VD_CANARY_SHARES);
}

const struct vd_policy *vd_canary_choose(const struct vd_policy *policy, struct vd_span key)
{
    if (policy->candidate == NULL || vd_canary_share_of(policy->id, key) >= policy->canary_share)
        return policy;
    return policy->candidate;
}

/* -- may it be the candidate? ------------------------------------------------------------------------------------ */

static bool same_topics(const struct vd_policy *a, const struct vd_policy *b)
{
    for (size_t i = 0; i < a->topic_count; i++)
        if (!vd_policy_reads(b, vd_span_of(a->topics[i])))
            return false;
    return a->topic_count == b->topic_count;
}

bool vd_canary_check(const struct vd_policy *current, const struct vd_policy *candidate,
                     struct vd_diags *diags)
{
    size_t before = diags->errors;

    if (strcmp(current->id, candidate->id) != 0)
        vd_diag_error(diags, candidate->file, 0, current->id,
                      "policy.id is \"%s\", and %s names this file as its candidate", candidate->id,
                      current->file);
    if (current->version == candidate->version)
        vd_diag_error(diags, candidate->file, 0, "another version",
                      "a candidate with the version %lld of the current policy",
                      (long long)candidate->version);
    if (candidate->candidate_file != NULL || candidate->mode != VD_MODE_ENFORCE)
        vd_diag_error(diags, candidate->file, 0, "mode = \"enforce\" and no canary section",
                      "a candidate has the mode that it will have when it is the current version");
    if (!same_topics(current, candidate))
        vd_diag_error(diags, candidate->file, 0, "the same topics",
                      "input.topics differ from those of %s", current->file);
    if (!vd_span_eq(vd_template_source(current->key), vd_template_source(candidate->key)))
        vd_diag_error(diags, candidate->file, 0, vd_template_source(current->key).ptr,
                      "input.key differs from that of %s: events of one key would lose their order",
                      current->file);
    return diags->errors == before;
}
