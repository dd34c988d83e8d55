/* base/conf_tree.h - inside of struct vd_conf, shared by conf.c and conf_table.c. */
#ifndef VD_BASE_CONF_TREE_H
#define VD_BASE_CONF_TREE_H

#include "base/arena.h"
#include "base/conf.h"

struct vd_conf {
    struct vd_arena arena; /* tree and strings */
    struct vd_conf_node *root;
};

#endif
