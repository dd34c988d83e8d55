/* model/ops.h - the providers, each in the file of its name. A new one adds a line here and a row in provider.c. */
#ifndef VD_MODEL_OPS_H
#define VD_MODEL_OPS_H

#include "model/provider.h"

extern const struct vd_model_ops vd_model_openai;
extern const struct vd_model_ops vd_model_anthropic;
extern const struct vd_model_ops vd_model_scripted;

#endif
