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

#ifdef __cplusplus
extern "C" {
#endif

/* The backend's registry entry, or NULL if this library was built for another GGML than the one
 * loaded. It has no devices where there is no vgr device. Static; never freed. Thread-safe. */
__attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_virtgpu_reg(void);

#ifdef __cplusplus
}
#endif

#endif
