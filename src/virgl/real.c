/* SPDX-License-Identifier: MIT
 *
 * The real virglrenderer: finding it, calling it, and the calls that go to it as they come.
 *
 * Theory of operation
 * -------------------
 *
 * This library stands before libvirglrenderer.so.1 in one of two ways. Preloaded, its functions come
 * first in the program's scope; the real library is loaded too, as what the program was linked to. In
 * the place of the real library, under its name in a folder of LD_LIBRARY_PATH, it must be told where
 * the real one is (VGR_VIRGL_REAL). RTLD_NEXT is of no use: a program may have loaded the real library
 * by dlopen(), as QEMU does with its modules, and it is then not behind us in any scope.
 *
 * It is looked for when the first call comes, never in a constructor: a preloaded library lands in
 * every child of the program as well.
 */
#include "virgl/real.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/log.h"

#define SONAME "libvirglrenderer.so.1"

__thread int vgr_real_depth;

static pthread_once_t once = PTHREAD_ONCE_INIT;

#define POINTER(ret, name, params, args, missing) static ret(*real_##name) params;
VGR_VIRGL_PLAIN(POINTER)
VGR_VIRGL_HOOKED(POINTER)
#undef POINTER

/* A library that has the functions and is not this one. */
static bool is_real(void *library)
{
    void *init = library ? dlsym(library, "virgl_renderer_init") : NULL;

    return init && init != (void *)virgl_renderer_init;
}

static void *open_real(void)
{
    const char *path = getenv("VGR_VIRGL_REAL");
    void *library;

    if (path && *path) {
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (is_real(library))
            return library;
        vgr_error("VGR_VIRGL_REAL: %s is not a virglrenderer", path);
        return NULL;
    }
    library = dlopen(SONAME, RTLD_NOW | RTLD_NOLOAD);
    if (!is_real(library))
        library = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
    if (is_real(library))
        return library;
    vgr_error("no " SONAME " behind this library: name it with VGR_VIRGL_REAL");
    return NULL;
}

static void find_real(void)
{
    void *library = open_real();

    if (!library)
        return;
#define RESOLVE(ret, name, params, args, missing)                                                  \
    *(void **)(&real_##name) = dlsym(library, "virgl_" #name);
    VGR_VIRGL_PLAIN(RESOLVE)
    VGR_VIRGL_HOOKED(RESOLVE)
#undef RESOLVE
}

static void leave(int *unused)
{
    vgr_real_depth--;
}

#define CALL(ret, name, params, args, missing)                                                     \
    ret vgr_real_##name params                                                                     \
    {                                                                                              \
        __attribute__((cleanup(leave))) int inside = ++vgr_real_depth;                             \
                                                                                                   \
        (void)inside;                                                                              \
        pthread_once(&once, find_real);                                                            \
        if (!real_##name)                                                                          \
            return missing;                                                                        \
        return real_##name args;                                                                   \
    }
VGR_VIRGL_PLAIN(CALL)
VGR_VIRGL_HOOKED(CALL)
#undef CALL

#define FORWARD(ret, name, params, args, missing)                                                  \
    ret virgl_##name params                                                                        \
    {                                                                                              \
        return vgr_real_##name args;                                                               \
    }
VGR_VIRGL_PLAIN(FORWARD)
#undef FORWARD
