/* commands/demo_stage.c - see demo_stage.h. */
#include "commands/demo_stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "commands/sim_server.h"
#include "kafka/embedded.h"
#include "ops/worker.h"
#include "redis/client.h"

#define REDIS_START_MS  5000
#define WORKER_START_MS 20000
#define MAX_WORDS       32
#define PATH_SIZE       160 /* a unix socket's path is at most 107 bytes */

/* Everything that the worker publishes to. */
static const char *const output_topics[] = {
    "decisions.orders", "decisions.billing", "decisions.marketplace", "decisions.review",
    "decisions.shadow", "decisions.audit",   "decisions.dead-letter"};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct vd_stage_set {
    char folder[64];
    char redis_socket[PATH_SIZE];
    char log[PATH_SIZE];
    int log_fd;
    pid_t redis;
    struct vd_embedded *broker;
    struct vd_sim *sim;
    struct vd_settings *settings;
    struct vd_worker *worker;
    pthread_t thread;
    bool thread_runs;
    struct vd_err worker_err;
    struct vd_kafka_writer *writer;
    struct vd_kafka_reader *reader;
};

static void nap(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    (void)nanosleep(&t, NULL);
}

/* -- the folder ------------------------------------------------------------------------------------------------------ */

static enum vd_code make_folder(struct vd_stage_set *s, struct vd_err *err)
{
    (void)snprintf(s->folder, sizeof(s->folder), "/tmp/verdict-demo-XXXXXX");
    if (mkdtemp(s->folder) == NULL) {
        s->folder[0] = '\0';
        return vd_err_set(err, VD_E_CONFIG, false, "cannot make a folder in /tmp: %s",
                          strerror(errno));
    }
    (void)snprintf(s->redis_socket, sizeof(s->redis_socket), "%s/redis.sock", s->folder);
    (void)snprintf(s->log, sizeof(s->log), "%s/worker.log", s->folder);
    s->log_fd = open(s->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (s->log_fd < 0)
        return vd_err_set(err, VD_E_CONFIG, false, "%s: %s", s->log, strerror(errno));
    return VD_OK;
}

/* Our own files only; the folder is flat. */
static void remove_folder(const struct vd_stage_set *s)
{
    DIR *dir = s->folder[0] == '\0' ? NULL : opendir(s->folder);
    struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL)
        (void)closedir(dir);
    if (s->folder[0] != '\0')
        (void)rmdir(s->folder);
}

/* -- Redis ------------------------------------------------------------------------------------------------------------ */

static enum vd_code start_redis(struct vd_stage_set *s, struct vd_err *err)
{
    char *const argv[] = {(char *)(uintptr_t) "redis-server",
                          (char *)(uintptr_t) "--port",
                          (char *)(uintptr_t) "0",
                          (char *)(uintptr_t) "--unixsocket",
                          s->redis_socket,
                          (char *)(uintptr_t) "--dir",
                          s->folder,
                          (char *)(uintptr_t) "--save",
                          (char *)(uintptr_t) "",
                          (char *)(uintptr_t) "--appendonly",
                          (char *)(uintptr_t) "no",
                          (char *)(uintptr_t) "--maxmemory-policy",
                          (char *)(uintptr_t) "noeviction",
                          (char *)(uintptr_t) "--logfile",
                          (char *)(uintptr_t) "redis.log",
                          NULL};
    extern char **environ;
    posix_spawnattr_t attributes;
    int64_t until = vd_mono_ms() + REDIS_START_MS;
    int failed;

    /* A group of its own: Ctrl-C is for us, and we end Redis in our own order. */
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    failed = posix_spawnp(&s->redis, "redis-server", NULL, &attributes, argv, environ);
    (void)posix_spawnattr_destroy(&attributes);
    if (failed != 0) {
        s->redis = 0;
        return vd_err_set(err, VD_E_CONFIG, false,
                          "redis-server does not start (%s): install the package redis-server",
                          strerror(failed));
    }
    while (access(s->redis_socket, F_OK) != 0) {
        if (vd_mono_ms() > until || waitpid(s->redis, NULL, WNOHANG) == s->redis)
            return vd_err_set(err, VD_E_CONFIG, false,
                              "redis-server ended at once; see %s/redis.log", s->folder);
        nap(10);
    }
    return VD_OK;
}

static void stop_redis(struct vd_stage_set *s)
{
    if (s->redis <= 0)
        return;
    (void)kill(s->redis, SIGTERM);
    for (int i = 0; i < 200; i++) {
        if (waitpid(s->redis, NULL, WNOHANG) != 0)
            return;
        nap(10);
    }
    (void)kill(s->redis, SIGKILL);
    (void)waitpid(s->redis, NULL, 0);
}

struct seeding {
    struct vd_loop *loop;
    struct vd_err err;
};

static void on_seeded(void *arg, const struct vd_redis_result *result)
{
    struct seeding *seeding = arg;

    seeding->err = result->err;
    for (size_t i = 0; result->err.code == VD_OK && i < result->count; i++)
        if (result->replies[i]->kind == VD_REDIS_ERROR)
            (void)vd_err_set(&seeding->err, VD_E_REMOTE, false, "%.*s",
                             (int)result->replies[i]->s.len, result->replies[i]->s.ptr);
    vd_loop_stop(seeding->loop);
}

/* One command's words, borrowed from the script. */
static struct vd_redis_command command_of(const cJSON *words, struct vd_span argv[MAX_WORDS])
{
    const cJSON *word;
    size_t n = 0;

    cJSON_ArrayForEach(word, words)
    {
        if (n < MAX_WORDS)
            argv[n++] = vd_json_string(word);
    }
    return (struct vd_redis_command){argv, n};
}

/* As few round trips as there may be. */
static enum vd_code seed_redis(struct vd_stage_set *s, const cJSON *script, struct vd_err *err)
{
    struct vd_redis_conf conf = {.address = s->redis_socket, .db = -1};
    struct vd_redis_options options = {.timeout_ms = REDIS_START_MS};
    struct vd_redis_command commands[VD_REDIS_MAX_PIPELINE];
    struct vd_span words[VD_REDIS_MAX_PIPELINE][MAX_WORDS];
    struct seeding seeding = {.loop = NULL};
    struct vd_redis *redis = NULL;
    const cJSON *command = script != NULL ? script->child : NULL;
    enum vd_code rc = vd_loop_new(&seeding.loop, err);

    if (rc == VD_OK)
        rc = vd_redis_new(seeding.loop, &conf, NULL, NULL, &redis, err);
    while (rc == VD_OK && command != NULL) {
        size_t count = 0;

        for (; command != NULL && count < VD_REDIS_MAX_PIPELINE; command = command->next, count++)
            commands[count] = command_of(command, words[count]);
        rc = vd_redis_submit(redis, commands, count, &options, on_seeded, &seeding, NULL, err);
        if (rc == VD_OK) {
            vd_loop_run(seeding.loop);
            *err = seeding.err;
            rc = err->code;
        }
    }
    (void)vd_redis_free(redis);
    (void)vd_loop_free(seeding.loop);
    return rc;
}

/* -- the worker -------------------------------------------------------------------------------------------------------- */

/* (name = "..."; format = "json"; ...), as the script has them: every member is a string. */
static void write_topics(FILE *f, const cJSON *topics)
{
    const cJSON *topic, *member;

    cJSON_ArrayForEach(topic, topics)
    {
        fprintf(f, "    { ");
        cJSON_ArrayForEach(member, topic)
            fprintf(f, "%s = \"%s\"; ", member->string, vd_json_string(member).ptr);
        fprintf(f, "}%s\n", topic->next != NULL ? "," : "");
    }
}

static enum vd_code write_settings(struct vd_stage_set *s, const struct vd_stage_conf *conf,
                                   char path[PATH_SIZE], struct vd_err *err)
{
    FILE *f;

    (void)snprintf(path, PATH_SIZE, "%s/verdict.cfg", s->folder);
    f = fopen(path, "we");
    if (f == NULL)
        return vd_err_set(err, VD_E_CONFIG, false, "%s: %s", path, strerror(errno));
    fprintf(f,
            "kafka = {\n"
            "  brokers = \"%s\"; group = \"verdict-demo\"; start = \"earliest\"; "
            "session_timeout_ms = 6000;\n"
            "  commit_interval_ms = 20;\n"
            "  topics = (\n",
            vd_embedded_brokers(s->broker));
    write_topics(f, conf->topics);
    fprintf(f,
            "  );\n"
            "};\n"
            "redis    = { address = \"unix:%s\"; };\n"
            "models   = { simulated = { url = \"%s\"; model = \"simulated-1\"; price_input = "
            "150000; price_output = 600000; }; };\n"
            "policies = { dir = \"%s\"; schemas = \"%s\"; };\n"
            "admin    = { listen = \"%s\"; };\n"
            "worker   = { name = \"demo\"; };\n",
            s->redis_socket, vd_sim_url(s->sim), conf->policies, conf->schemas, conf->listen);
    return fclose(f) == 0 ? VD_OK
                          : vd_err_set(err, VD_E_CONFIG, false, "%s: %s", path, strerror(errno));
}

static void *worker_thread(void *arg)
{
    struct vd_stage_set *s = arg;

    if (vd_worker_run(s->worker, &s->worker_err) != VD_OK)
        vd_log(VD_ERROR, "demo.worker", VD_F_STR("error", s->worker_err.msg));
    return NULL;
}

static enum vd_code start_worker(struct vd_stage_set *s, const struct vd_stage_conf *conf,
                                 struct vd_err *err)
{
    struct vd_worker_options options = {.embedded = true};
    int64_t until = vd_mono_ms() + WORKER_START_MS;
    char path[PATH_SIZE];
    struct vd_diags diags;
    enum vd_code rc = write_settings(s, conf, path, err);

    vd_diags_init(&diags);
    if (rc == VD_OK)
        rc = vd_settings_load(path, &diags, &s->settings, err);
    if (rc == VD_OK)
        rc = vd_worker_new(s->settings, &options, &diags, &s->worker, err);
    vd_diags_fini(&diags);
    if (rc != VD_OK)
        return rc;
    if (pthread_create(&s->thread, NULL, worker_thread, s) != 0)
        return vd_err_set(err, VD_E_BUG, false, "no thread for the worker");
    s->thread_runs = true;
    while (!vd_worker_ready(s->worker)) {
        if (vd_mono_ms() > until)
            return vd_err_set(err, VD_E_TIMEOUT, false,
                              "the worker is not ready after %d s; see %s", WORKER_START_MS / 1000,
                              s->log);
        nap(5);
    }
    return VD_OK;
}

/* -- all of it --------------------------------------------------------------------------------------------------------- */

static enum vd_code start_broker(struct vd_stage_set *s, const cJSON *topics, struct vd_err *err)
{
    enum vd_code rc = vd_embedded_new(&s->broker, err);
    const cJSON *topic;

    cJSON_ArrayForEach(topic, topics)
    {
        if (rc == VD_OK)
            rc = vd_embedded_create_topic(s->broker, vd_json_get_string(topic, "name").ptr, 4, err);
    }
    for (size_t i = 0; rc == VD_OK && i < COUNT(output_topics); i++)
        rc = vd_embedded_create_topic(s->broker, output_topics[i], 1, err);
    return rc;
}

static enum vd_code start_clients(struct vd_stage_set *s, struct vd_err *err)
{
    struct vd_kafka_conf conf = {.brokers = vd_embedded_brokers(s->broker),
                                 .group = "verdict-demo-reader",
                                 .embedded = true,
                                 .commit_interval_ms = 100};
    enum vd_code rc = vd_kafka_writer_new(&conf, &s->writer, err);

    if (rc == VD_OK)
        rc = vd_kafka_reader_new(&conf, output_topics, COUNT(output_topics), VD_KAFKA_FOLLOW,
                                 &s->reader, err);
    return rc;
}

enum vd_code vd_stage_set_up(const struct vd_stage_conf *conf, struct vd_stage_set **ret_set,
                             struct vd_err *err)
{
    struct vd_stage_set *s = vd_alloc(sizeof(*s));
    enum vd_code rc;

    if (s == NULL)
        return vd_err_nomem(err, "demo");
    s->log_fd = -1;
    rc = make_folder(s, err);
    if (rc == VD_OK) {
        vd_log_setup(s->log_fd, VD_INFO);
        rc = start_redis(s, err);
    }
    if (rc == VD_OK)
        rc = start_broker(s, conf->topics, err);
    if (rc == VD_OK)
        rc = vd_sim_start("127.0.0.1", 0, conf->sim, &s->sim, err);
    if (rc == VD_OK)
        rc = seed_redis(s, conf->redis, err);
    if (rc == VD_OK)
        rc = start_worker(s, conf, err);
    if (rc == VD_OK)
        rc = start_clients(s, err);
    if (rc != VD_OK) {
        (void)vd_stage_take_down(s);
        return rc;
    }
    *ret_set = s;
    return VD_OK;
}

void *vd_stage_take_down(struct vd_stage_set *s)
{
    if (s == NULL)
        return NULL;
    if (s->thread_runs) {
        vd_worker_stop(s->worker);
        (void)pthread_join(s->thread, NULL);
    }
    (void)vd_kafka_reader_free(s->reader);
    (void)vd_kafka_writer_free(s->writer);
    (void)vd_worker_free(s->worker);
    (void)vd_settings_free(s->settings);
    (void)vd_sim_stop(s->sim);
    (void)vd_embedded_free(s->broker);
    stop_redis(s);
    vd_log_setup(-1, VD_ERROR);
    if (s->log_fd >= 0)
        (void)close(s->log_fd);
    remove_folder(s);
    return vd_free(s);
}

struct vd_kafka_writer *vd_stage_writer(struct vd_stage_set *s)
{
    return s->writer;
}

struct vd_kafka_reader *vd_stage_reader(struct vd_stage_set *s)
{
    return s->reader;
}

const char *vd_stage_brokers(const struct vd_stage_set *s)
{
    return vd_embedded_brokers(s->broker);
}

const char *vd_stage_redis(const struct vd_stage_set *s)
{
    return s->redis_socket;
}

const char *vd_stage_model_url(const struct vd_stage_set *s)
{
    return vd_sim_url(s->sim);
}

const char *vd_stage_admin_url(const struct vd_stage_set *s)
{
    return vd_worker_admin_url(s->worker);
}

const char *vd_stage_log(const struct vd_stage_set *s)
{
    return s->log;
}

enum vd_code vd_stage_model(struct vd_stage_set *s, const cJSON *change, struct vd_err *err)
{
    return vd_sim_control(s->sim, change, err);
}
