/* One reading of all that the settings point to. Owns it by reference count. */
#include "config/material.h"

#include "base/alloc.h"
#include "config/gateway_config.h"
#include "config/reader.h"
#include "config/secret.h"
#include "config/web_config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void hold(_Atomic unsigned *references)
{
    unsigned before = atomic_fetch_add_explicit(references, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
}

/* Whether it was the last. All that any holder did then comes before it is freed. */
static bool release(_Atomic unsigned *references)
{
    unsigned before = atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel);
    assert(before > 0);
    return before == 1;
}

/* -- The sides --------------------------------------------------------------------------------- */

static void files_deinit(struct material_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        free(files->paths[i]);
    }
    free(files->paths);
}

static void listener_release(struct material_listener *listener)
{
    if (!release(&listener->references)) {
        return;
    }
    for (size_t i = 0; i < listener->user_count; i++) {
        free(listener->users[i].name);
        secret_free(listener->users[i].hash);
    }
    for (size_t i = 0; i < listener->header_count; i++) {
        free(listener->headers[i].name);
        free(listener->headers[i].value);
    }
    free(listener->users);
    free(listener->headers);
    free(listener->priorities);
    free(listener->cert_pem);
    secret_free(listener->key_pem);
    free(listener->client_ca_pem);
    files_deinit(&listener->files);
    free(listener);
}

static void gateway_release(struct material_gateway *gateway)
{
    if (!release(&gateway->references)) {
        return;
    }
    free(gateway->ca_pem);
    free(gateway->client_cert_pem);
    secret_free(gateway->client_key_pem);
    free(gateway->server_name);
    secret_free(gateway->authorization);
    secret_free(gateway->proxy_url);
    files_deinit(&gateway->files);
    free(gateway);
}

/* Errors: NULL, and a line in error. */
static struct material_listener *listener_load(const struct config *config,
                                               char error[MATERIAL_ERROR_BYTES])
{
    struct material_listener *listener = alloc_zero(1, sizeof(*listener));
    struct reader reader = {.files = &listener->files, .error = error};
    atomic_init(&listener->references, 1);
    if (web_config_load(config, &reader, listener) < 0) {
        listener_release(listener);
        return NULL;
    }
    return listener;
}

/* Errors: NULL, and a line in error. */
static struct material_gateway *gateway_load(const struct config *config,
                                             char error[MATERIAL_ERROR_BYTES])
{
    struct material_gateway *gateway = alloc_zero(1, sizeof(*gateway));
    struct reader reader = {.files = &gateway->files, .error = error};
    atomic_init(&gateway->references, 1);
    if (gateway_config_load(config, &reader, gateway) < 0) {
        gateway_release(gateway);
        return NULL;
    }
    return gateway;
}

/* -- Both -------------------------------------------------------------------------------------- */

static struct material *pair(struct material_listener *listener, struct material_gateway *gateway)
{
    struct material *material = alloc_zero(1, sizeof(*material));
    atomic_init(&material->references, 1);
    material->listener = listener;
    material->gateway = gateway;
    return material;
}

struct material *material_load(const struct config *config, char error[MATERIAL_ERROR_BYTES])
{
    struct material_listener *listener = listener_load(config, error);
    if (listener == NULL) {
        return NULL;
    }
    struct material_gateway *gateway = gateway_load(config, error);
    if (gateway == NULL) {
        listener_release(listener);
        return NULL;
    }
    return pair(listener, gateway);
}

struct material *material_load_again(const struct config *config, const struct material *before,
                                     char error[MATERIAL_ERROR_BYTES])
{
    char other[MATERIAL_ERROR_BYTES];
    error[0] = '\0';
    struct material_listener *listener = listener_load(config, error);
    struct material_gateway *gateway = gateway_load(config, other);
    if (gateway == NULL) {
        size_t bytes = strlen(error);
        (void)snprintf(error + bytes, MATERIAL_ERROR_BYTES - bytes, "%s%s", bytes > 0 ? "; " : "",
                       other);
        gateway = before->gateway;
        hold(&gateway->references);
    }
    if (listener == NULL) {
        listener = before->listener;
        hold(&listener->references);
    }
    return pair(listener, gateway);
}

struct material *material_hold(struct material *material)
{
    hold(&material->references);
    return material;
}

void material_release(struct material *material)
{
    if (material != NULL && release(&material->references)) {
        listener_release(material->listener);
        gateway_release(material->gateway);
        free(material);
    }
}
