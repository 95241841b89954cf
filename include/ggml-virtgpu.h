/* SPDX-License-Identifier: MIT
 *
 * ggml-virtgpu.h - the public face of the VirtGPU backend.
 *
 * Programs that load GGML's backends dynamically need nothing of this: ggml_backend_load_all() finds
 * libggml-virtgpu.so. A program that links the library names the backend with this call.
 */
#ifndef GGML_VIRTGPU_H
#define GGML_VIRTGPU_H

#include <ggml-backend.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The backend's registry entry, or NULL if this library was built for another GGML than the one
 * loaded. It has no devices where there is no vgr device. Static; never freed. Thread-safe. */
__attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_virtgpu_reg(void);

/* What this process has had its worker on the host do so far, as the line that VGR_STATS=1 prints
 * at exit ("vgr-stats: commands=12 ..."), one for each device of ours that the guest has: writes at most `size` bytes, NUL included, and returns the
 * length of what it wrote; 0 without a device. Thread-safe. Programs that do not link the library find
 * it by its name with ggml_backend_reg_get_proc_address(). */
__attribute__((visibility("default"))) size_t ggml_backend_virtgpu_stats(char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
