/* commands/redis_session.h - Redis for commands: one call at a time, waited for.
 *
 * Why:      the client is made for the loop; a command wants an answer.
 * Thread:   one.
 * Errors:   VD_E_REMOTE or VD_E_TIMEOUT when Redis does not answer, VD_E_CONFIG for settings without Redis.
 */
#ifndef VD_COMMANDS_REDIS_SESSION_H
#define VD_COMMANDS_REDIS_SESSION_H

#include "ops/settings.h"
#include "redis/client.h"

struct vd_redis_session;

enum vd_code vd_redis_session_open(const struct vd_settings *settings,
                                   struct vd_redis_session **ret_session,
                                   struct vd_err *err) VD_MUST_CHECK;
void *vd_redis_session_close(struct vd_redis_session *session); /* NULL-safe; returns NULL */

/* One command; on_reply is called once, before this returns VD_OK. An error reply is VD_E_REMOTE. */
typedef enum vd_code vd_redis_reply_fn(void *arg, const struct vd_redis_reply *reply,
                                       struct vd_err *err);
enum vd_code vd_redis_session_call(struct vd_redis_session *session, const struct vd_span *argv,
                                   size_t argc, vd_redis_reply_fn *on_reply, void *arg,
                                   struct vd_err *err) VD_MUST_CHECK;

/* For calls that other modules submit (vd_redis_eval() and what is made of it): their client, one turn of its loop. */
struct vd_redis *vd_redis_session_client(struct vd_redis_session *session);
void vd_redis_session_turn(struct vd_redis_session *session);

#endif
