/* Placeholder while the reading is being written. */
#include "config/material.h"

#include <stdlib.h>

struct material *material_load(const struct config *config, char error[MATERIAL_ERROR_BYTES])
{
    (void)config;
    (void)error;
    struct material *material = calloc(1, sizeof(*material));
    if (material != NULL) {
        material->references = 1;
    }
    return material;
}

struct material *material_hold(struct material *material)
{
    atomic_fetch_add(&material->references, 1);
    return material;
}

void material_release(struct material *material)
{
    if (material != NULL && atomic_fetch_sub(&material->references, 1) == 1) {
        free(material);
    }
}
