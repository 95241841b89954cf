/* SPDX-License-Identifier: MIT */
#include "virgl/capset.h"

#include <pthread.h>
#include <string.h>

#include "virgl/service.h"

#define ALIGN 8u

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct vgr_capset capset;
static bool offered;

static void decide(void)
{
    __atomic_store_n(&offered, !vgr_service_ask(&capset), __ATOMIC_RELEASE);
}

bool vgr_capset_decide(void)
{
    pthread_once(&once, decide);
    return offered;
}

bool vgr_capset_is_offered(void)
{
    return __atomic_load_n(&offered, __ATOMIC_ACQUIRE);
}

const struct vgr_capset *vgr_capset_offered(void)
{
    return &capset;
}

static uint32_t start_of_trailer(uint32_t size)
{
    return (size + ALIGN - 1) & ~(ALIGN - 1);
}

uint32_t vgr_capset_size(uint32_t size)
{
    return start_of_trailer(size) + (uint32_t)sizeof(struct vgr_bridge_trailer);
}

void vgr_capset_write(void *caps, uint32_t size)
{
    struct vgr_bridge_trailer t = {.capset = capset};

    memcpy(t.signature, VGR_BRIDGE_SIGNATURE, sizeof(t.signature));
    memset((char *)caps + size, 0, start_of_trailer(size) - size);
    memcpy((char *)caps + start_of_trailer(size), &t, sizeof(t));
}
