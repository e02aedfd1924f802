/* Checks passwords on a thread of its own. Owns the thread and what waits for it, under one lock;
 * the worker holds it for a few instructions only. */
#include "io/password_checker.h"

#include "base/alloc.h"
#include "io/loop.h"

#include <assert.h>
#include <crypt.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct check {
    struct check *next;
    void *arg;
    char *password;
    char *hash;
    bool matches;
};

/* First in, first out. */
struct check_list {
    struct check *first, **end;
};

struct password_checker {
    struct loop *loop;
    uint8_t key[PASSWORD_DIGEST_BYTES];
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    struct check_list asked;
    struct check_list done;
    size_t waiting; /* in both, and the one under way */
    bool stop;
    bool has_thread; /* the worker's own */
    pthread_t thread;
};

static void list_add(struct check_list *list, struct check *check)
{
    check->next = NULL;
    *list->end = check;
    list->end = &check->next;
}

static struct check *list_take(struct check_list *list)
{
    struct check *check = list->first;
    if (check != NULL) {
        list->first = check->next;
        if (list->first == NULL) {
            list->end = &list->first;
        }
    }
    return check;
}

static void wipe_password(struct check *check)
{
    if (check->password != NULL) {
        explicit_bzero(check->password, strlen(check->password));
        free(check->password);
        check->password = NULL;
    }
}

static void check_free(struct check *check)
{
    wipe_password(check);
    free(check->hash);
    free(check);
}

static bool equal(const char *one, const char *other)
{
    size_t bytes = strlen(one);
    return bytes == strlen(other) && gnutls_memcmp(one, other, bytes) == 0;
}

/* -- The thread ------------------------------------------------------------------------------- */

static void run_check(struct check *check, struct crypt_data *scratch)
{
    const char *found = crypt_r(check->password, check->hash, scratch);
    check->matches = found != NULL && found[0] == '$' && equal(found, check->hash);
    explicit_bzero(scratch, sizeof(*scratch));
    wipe_password(check);
}

static void *run(void *arg)
{
    struct password_checker *checker = arg;
    struct crypt_data *scratch = alloc_zero(1, sizeof(*scratch));
    (void)pthread_mutex_lock(&checker->lock);
    while (!checker->stop) {
        struct check *check = list_take(&checker->asked);
        if (check == NULL) {
            (void)pthread_cond_wait(&checker->changed, &checker->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&checker->lock);
        run_check(check, scratch);
        (void)pthread_mutex_lock(&checker->lock);
        list_add(&checker->done, check);
        loop_wake(checker->loop);
    }
    (void)pthread_mutex_unlock(&checker->lock);
    free(scratch);
    return NULL;
}

/* -- The worker's side ------------------------------------------------------------------------ */

int password_checker_add(struct password_checker *checker, const char *password, const char *hash,
                         void *arg)
{
    if (!checker->has_thread) {
        if (pthread_create(&checker->thread, NULL, run, checker) != 0) {
            return -ENOMEM; /* its own EAGAIN says the same */
        }
        checker->has_thread = true;
    }
    struct check *check = alloc_zero(1, sizeof(*check));
    check->arg = arg;
    check->password = alloc_copy(password, strlen(password));
    check->hash = alloc_copy(hash, strlen(hash));
    (void)pthread_mutex_lock(&checker->lock);
    bool room = checker->waiting < PASSWORD_CHECKS_MAX;
    if (room) {
        checker->waiting++;
        list_add(&checker->asked, check);
        (void)pthread_cond_signal(&checker->changed);
    }
    (void)pthread_mutex_unlock(&checker->lock);
    if (!room) {
        check_free(check);
        return -EAGAIN;
    }
    return 0;
}

bool password_checker_take(struct password_checker *checker, void **arg, bool *matches)
{
    if (!checker->has_thread) {
        return false;
    }
    (void)pthread_mutex_lock(&checker->lock);
    struct check *check = list_take(&checker->done);
    checker->waiting -= check != NULL;
    (void)pthread_mutex_unlock(&checker->lock);
    if (check == NULL) {
        return false;
    }
    *arg = check->arg;
    *matches = check->matches;
    check_free(check);
    return true;
}

void password_checker_digest(const struct password_checker *checker, const void *secret,
                             size_t bytes, uint8_t digest[PASSWORD_DIGEST_BYTES])
{
    int status = gnutls_hmac_fast(GNUTLS_MAC_SHA256, checker->key, sizeof(checker->key), secret,
                                  bytes, digest);
    assert(status == 0);
    (void)status;
}

struct password_checker *password_checker_new(struct loop *loop)
{
    struct password_checker *checker = calloc(1, sizeof(*checker));
    if (checker == NULL) {
        return NULL;
    }
    if (gnutls_rnd(GNUTLS_RND_KEY, checker->key, sizeof(checker->key)) != 0) {
        free(checker);
        return NULL;
    }
    checker->loop = loop;
    checker->asked.end = &checker->asked.first;
    checker->done.end = &checker->done.first;
    (void)pthread_mutex_init(&checker->lock, NULL);
    (void)pthread_cond_init(&checker->changed, NULL);
    return checker;
}

void password_checker_free(struct password_checker *checker)
{
    if (checker == NULL) {
        return;
    }
    if (checker->has_thread) {
        (void)pthread_mutex_lock(&checker->lock);
        checker->stop = true;
        (void)pthread_cond_signal(&checker->changed);
        (void)pthread_mutex_unlock(&checker->lock);
        (void)pthread_join(checker->thread, NULL);
    }
    struct check *check;
    while ((check = list_take(&checker->asked)) != NULL) {
        check_free(check);
    }
    while ((check = list_take(&checker->done)) != NULL) {
        check_free(check);
    }
    (void)pthread_cond_destroy(&checker->changed);
    (void)pthread_mutex_destroy(&checker->lock);
    explicit_bzero(checker->key, sizeof(checker->key));
    free(checker);
}
