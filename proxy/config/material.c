/* One reading of all that the settings point to. Owns it by reference count. */
#include "config/material.h"

#include "base/alloc.h"
#include "config/gateway_config.h"
#include "config/reader.h"
#include "config/secret.h"
#include "config/web_config.h"

#include <assert.h>
#include <stdlib.h>

static void material_free_listener(struct material_listener *listener)
{
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

struct material *material_load(const struct config *config, char error[MATERIAL_ERROR_BYTES])
{
    struct material *material = alloc_zero(1, sizeof(*material));
    struct reader reader = {.material = material, .error = error};
    atomic_init(&material->references, 1);
    int result = web_config_load(config, &reader);
    if (result == 0) {
        result = gateway_config_load(config, &reader);
    }
    if (result < 0) {
        material_free(material);
        return NULL;
    }
    return material;
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
