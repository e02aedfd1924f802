/* One reading of all that the settings point to. Owns it by reference count. */
#include "config/material.h"

#include "base/alloc.h"
#include "config/gateway_config.h"
#include "config/reader.h"
#include "config/secret.h"
#include "config/web_config.h"

#include <assert.h>
#include <stdlib.h>

#define FINGERPRINT_PRIME UINT64_C(0x100000001b3)

static void material_free_listener(struct material_listener *listener)
{
    if (listener->owner != NULL) {
        material_release(listener->owner);
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
}

static void material_free_gateway(struct material_gateway *gateway)
{
    if (gateway->owner != NULL) {
        material_release(gateway->owner);
        return;
    }
    free(gateway->ca_pem);
    free(gateway->client_cert_pem);
    secret_free(gateway->client_key_pem);
    free(gateway->server_name);
    secret_free(gateway->authorization);
    secret_free(gateway->proxy_url);
}

static void material_free(struct material *material)
{
    material_free_listener(&material->listener);
    material_free_gateway(&material->gateway);
    for (size_t i = 0; i < material->file_count; i++) {
        free(material->files[i].path);
    }
    free(material->files);
    free(material);
}

/* A side of another material, without what it has come to here. */
static void material_keep_listener(struct material *material, struct material *before)
{
    material_free_listener(&material->listener);
    material->listener = before->listener;
    if (material->listener.owner == NULL) {
        material->listener.owner = before;
    }
    material_hold(material->listener.owner);
}

static void material_keep_gateway(struct material *material, struct material *before)
{
    material_free_gateway(&material->gateway);
    material->gateway = before->gateway;
    if (material->gateway.owner == NULL) {
        material->gateway.owner = before;
    }
    material_hold(material->gateway.owner);
}

/* What the reader has noted since it was asked the last time. */
static uint64_t take_fingerprint(struct material *material)
{
    uint64_t fingerprint = material->fingerprint;
    material->fingerprint = 0;
    return fingerprint;
}

/* before: to keep a side of; NULL: it fails with either. */
static struct material *load(const struct config *config, struct material *before,
                             char error[MATERIAL_ERROR_BYTES])
{
    struct material *material = alloc_zero(1, sizeof(*material));
    struct reader reader = {.material = material, .error = error};
    atomic_init(&material->references, 1);
    bool listener_is_good = web_config_load(config, &reader) == 0;
    material->listener.fingerprint = take_fingerprint(material);
    bool gateway_is_good =
        (listener_is_good || before != NULL) && gateway_config_load(config, &reader) == 0;
    material->gateway.fingerprint = take_fingerprint(material);
    if (before == NULL && !(listener_is_good && gateway_is_good)) {
        material_free(material);
        return NULL;
    }
    if (!listener_is_good) {
        material_keep_listener(material, before);
    }
    if (!gateway_is_good) {
        material_keep_gateway(material, before);
    }
    material->fingerprint =
        material->listener.fingerprint * FINGERPRINT_PRIME ^ material->gateway.fingerprint;
    return material;
}

struct material *material_load(const struct config *config, char error[MATERIAL_ERROR_BYTES])
{
    return load(config, NULL, error);
}

struct material *material_load_again(const struct config *config, struct material *before,
                                     char error[MATERIAL_ERROR_BYTES])
{
    error[0] = '\0';
    return load(config, before, error);
}

struct material *material_hold(struct material *material)
{
    unsigned before = atomic_fetch_add_explicit(&material->references, 1, memory_order_relaxed);
    assert(before > 0);
    return material;
}

void material_release(struct material *material)
{
    if (material == NULL) {
        return;
    }
    /* All that any holder did with it comes before it is freed. */
    unsigned before = atomic_fetch_sub_explicit(&material->references, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1) {
        material_free(material);
    }
}
