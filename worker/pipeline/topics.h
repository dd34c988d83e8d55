/* pipeline/topics.h - where records go. Names are settings (records.md "Topics"). */
#ifndef VD_PIPELINE_TOPICS_H
#define VD_PIPELINE_TOPICS_H

struct vd_pipeline_topics {
    const char *prefix;      /* "decisions": decisions.<domain> */
    const char *review;      /* decisions.review */
    const char *shadow;      /* decisions.shadow */
    const char *audit;       /* decisions.audit */
    const char *dead_letter; /* decisions.dead-letter */
};

#endif
