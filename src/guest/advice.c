/* SPDX-License-Identifier: MIT */
#include "guest/advice.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "guest/log.h"

/* So many graphs in turn are no accident. */
#define TURNS 500u

/* Does the program have GNU's OpenMP library, with nobody's wish how long it should spin? */
static bool openmp_spins(void)
{
    void *lib;

    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return false;
    lib = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (lib)
        dlclose(lib);
    return lib != NULL;
}

void vgr_advise(const struct vgr_device *d, const struct vgr_graphs *g)
{
    static bool said;

    if (g->turns != TURNS || d->info.type != VGR_DEVICE_CPU ||
        __atomic_exchange_n(&said, true, __ATOMIC_RELAXED) || !openmp_spins())
        return;
    vgr_say_warn("%s is the host's CPU, and this program's idle OpenMP threads spin on it: "
                 "GOMP_SPINCOUNT=300 in the environment will make it faster",
                 d->name);
}
