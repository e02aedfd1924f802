/* Certificates, keys, passwords and tokens change while the program runs. Owns the watch of their
 * files and the material in use. */
#include "reload.h"

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "config/material.h"
#include "io/file_watch.h"
#include "io/loop.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define SETTLE_US  (100U * 1000U)        /* several files of one change come one after the other */
#define WAIT_US    (1000U * 1000U)       /* but in a busy folder something always does */
#define RECHECK_US (30U * 1000U * 1000U) /* where a file system tells nothing */
#define RETRY_US   (1000U * 1000U)       /* what is missing may come where nothing is watched yet */

struct reload {
    const struct config *config;
    const struct log *log;
    struct material *material;
    bool tls; /* the listener speaks it, from the start to the end */
    struct worker *const *workers;
    size_t worker_count;
    struct admin_shared *shared;
    struct loop *loop;
    struct file_watch *files; /* NULL: none to watch, or no way to */
    struct loop_watch watch;
    const char *reason; /* a signal's; NULL: files or the clock */
    uint64_t due_us;
    uint64_t changed_us;              /* when the first change came that is not read yet; 0: none */
    bool doubted;                     /* what was read is read once more before it is believed */
    char error[MATERIAL_ERROR_BYTES]; /* why it failed the last time; "": it did not */
};

static void on_files(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct reload *reload = (struct reload *)((char *)watch - offsetof(struct reload, watch));
    if (!file_watch_drain(reload->files) || reload->due_us == 0) {
        return;
    }
    uint64_t now_us = clock_now_us();
    if (reload->changed_us == 0) {
        reload->changed_us = now_us;
    }
    uint64_t latest_us = reload->changed_us + WAIT_US;
    reload->due_us = now_us + SETTLE_US < latest_us ? now_us + SETTLE_US : latest_us;
}

static void warn(const struct log *log, const struct material *material)
{
    if (material->gateway->insecure_skip_verify) {
        log_warn(log,
                 "the gateway's certificate is not verified: whoever is on the way can read "
                 "and change all data",
                 log_str("setting", "insecure-skip-verify"));
    }
}

/* Of a node's inotify instances each user has a limit, and pods of one user share it. */
static bool open_watch(struct reload *reload)
{
    if (reload->files != NULL) {
        return true;
    }
    reload->files = file_watch_new();
    if (reload->files != NULL &&
        loop_set(reload->loop, file_watch_fd(reload->files), EPOLLIN, &reload->watch) != 0) {
        int error = errno;
        file_watch_free(reload->files);
        reload->files = NULL;
        errno = error;
    }
    return reload->files != NULL;
}

static size_t count_files(const struct material *material)
{
    return material->listener->files.count + material->gateway->files.count;
}

static void watch_side(struct reload *reload, const struct material_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        int status = file_watch_add(reload->files, files->paths[i]);
        if (status != 0) {
            log_warn(reload->log, "cannot watch a file for changes, will look now and then",
                     log_str("file", files->paths[i]), log_str("error", strerror(-status)));
        }
    }
}

static void watch_files(struct reload *reload)
{
    if (count_files(reload->material) == 0) {
        return;
    }
    if (!open_watch(reload)) {
        log_warn(reload->log, "cannot watch files for changes, will look now and then",
                 log_str("error", strerror(errno)));
        return;
    }
    watch_side(reload, &reload->material->listener->files);
    watch_side(reload, &reload->material->gateway->files);
}

static void note(struct reload *reload, bool successful)
{
    atomic_store(&reload->shared->reload_successful, successful);
    if (successful) {
        atomic_store(&reload->shared->reload_time_s, (uint64_t)time(NULL));
    }
}

struct reload *reload_new(const struct config *config, const struct log *log,
                          struct material *material, struct worker *const *workers,
                          size_t worker_count, struct admin_shared *shared, struct loop *loop)
{
    struct reload *reload = calloc(1, sizeof(*reload));
    if (reload == NULL) {
        return NULL;
    }
    *reload = (struct reload){.config = config,
                              .log = log,
                              .material = material_hold(material),
                              .tls = material->listener->tls,
                              .workers = workers,
                              .worker_count = worker_count,
                              .shared = shared,
                              .loop = loop,
                              .watch = {.on_ready = on_files},
                              .due_us = LOOP_NEVER};
    watch_files(reload);
    warn(log, material);
    note(reload, true);
    if (count_files(material) > 0) {
        reload->due_us = clock_now_us() + RETRY_US; /* changed since it was read, unwatched? */
    }
    return reload;
}

void reload_free(struct reload *reload)
{
    if (reload == NULL) {
        return;
    }
    if (reload->files != NULL) {
        loop_clear(reload->loop, file_watch_fd(reload->files));
        file_watch_free(reload->files);
    }
    material_release(reload->material);
    free(reload);
}

void reload_ask(struct reload *reload, const char *reason)
{
    reload->reason = reason;
    if (!reload->doubted) { /* else it is read again in a moment, and not before */
        reload->due_us = 0;
    }
}

/* Which sides of the material are others than those in use; NULL: none. */
static const char *changed_side(const struct reload *reload, const struct material *material)
{
    const struct material *used = reload->material;
    bool listener = material->listener->files.fingerprint != used->listener->files.fingerprint;
    bool gateway = material->gateway->files.fingerprint != used->gateway->files.fingerprint;
    if (listener && gateway) {
        return "both";
    }
    return listener ? "listener" : gateway ? "gateway" : NULL;
}

static void swap(struct reload *reload, struct material *material, const char *side)
{
    for (size_t i = 0; i < reload->worker_count; i++) {
        worker_set_material(reload->workers[i], material);
    }
    if (material->listener->tls != reload->tls) {
        log_warn(reload->log, "whether the listener speaks TLS changes only with a restart",
                 log_str("now", reload->tls ? "https" : "http"));
    }
    material_release(reload->material);
    reload->material = material;
    watch_files(reload);
    warn(reload->log, material);
    log_info(reload->log, "certificates and credentials were read again",
             log_str("reason", reload->reason != NULL ? reload->reason : "a file changed"),
             log_str("side", side), log_u64("files", count_files(material)));
}

static void fail(struct reload *reload, const char *error)
{
    /* It is tried again and again, and need not be said again and again. */
    if (reload->reason != NULL || strcmp(reload->error, error) != 0) {
        log_error(reload->log, "reload failed, what was in use stays in use",
                  log_str("error", error));
        memcpy(reload->error, error, sizeof(reload->error));
    }
    note(reload, false);
}

static void succeed(struct reload *reload, bool changed)
{
    if (!changed && reload->error[0] != '\0') {
        watch_files(reload); /* what was gone has not been watched since */
        log_info(reload->log, "reload works again, nothing has changed");
    } else if (!changed && reload->reason != NULL) {
        log_info(reload->log, "nothing has changed", log_str("reason", reload->reason));
    }
    reload->error[0] = '\0';
    note(reload, true);
}

/* A certificate whose key is just being written, maybe; or a file that is written in place, empty
 * for a moment, which means no users and no TLS. */
static bool is_doubtful(const struct reload *reload, const struct material *material,
                        const char *error)
{
    const struct material_listener *before = reload->material->listener;
    const struct material_listener *now = material->listener;
    return (error[0] != '\0' && strcmp(reload->error, error) != 0) ||
           (before->user_count > 0 && now->user_count == 0) || (before->tls && !now->tls);
}

void reload_tick(struct reload *reload)
{
    if (clock_now_us() < reload->due_us) {
        return;
    }
    char error[MATERIAL_ERROR_BYTES] = "";
    reload->changed_us = 0;
    struct material *material = material_load_again(reload->config, reload->material, error);
    if (!reload->doubted && is_doubtful(reload, material, error)) {
        material_release(material);
        reload->doubted = true;
        reload->due_us = clock_now_us() + SETTLE_US;
        return;
    }
    const char *side = changed_side(reload, material);
    if (side != NULL) {
        swap(reload, material, side);
    } else {
        material_release(material);
    }
    bool failed = error[0] != '\0';
    if (failed) {
        fail(reload, error);
    } else {
        succeed(reload, side != NULL);
    }
    reload->doubted = false;
    reload->reason = NULL;
    reload->due_us = clock_now_us() + (failed ? RETRY_US : RECHECK_US);
}

uint64_t reload_deadline_us(const struct reload *reload)
{
    return reload->due_us;
}
