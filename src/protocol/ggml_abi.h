/* SPDX-License-Identifier: MIT
 *
 * ggml_abi.h - what a GGML backend looks like in memory.
 *
 * A backend hands GGML structs of function pointers. GGML's own description of them is a private
 * header that no distribution installs, so this file states the layout: which slots, in which
 * order, with which arguments. It was checked against live backends. The guest's library makes
 * such structs; the worker reads the one slot of a backend that has no public call
 * (graph_optimize). GGML numbers the layout with an "API version", which a plugin must match
 * exactly:
 *
 *   2   GGML 0.15 to 0.25 at least. The number is older than the 2D transfers, so a GGML that has none
 *       also says 2 and is laid out otherwise: the build refuses it.
 *   3   GGML 0.27: buffer types gained alloc_buffer_n and get_alloc_size_n
 *
 * Which GGML has which is no rule to rely on: the build asks the installed one (find_ggml_api.c) and
 * defines VGR_GGML_API. The guest's reg.c compares GGML's version at run time with that at build time,
 * the worker looks at a registry's api_version. Slots marked [opt] may be NULL.
 */
#ifndef VGR_PROTOCOL_GGML_ABI_H
#define VGR_PROTOCOL_GGML_ABI_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ggml-backend.h>
#include <ggml.h>

#if VGR_GGML_API != 2 && VGR_GGML_API != 3
#error "VGR_GGML_API must be 2 or 3"
#endif

/* ---- Registry ------------------------------------------------------------------------------- */

struct ggml_backend_reg_i {
    const char *(*get_name)(ggml_backend_reg_t reg);
    size_t (*get_device_count)(ggml_backend_reg_t reg);
    ggml_backend_dev_t (*get_device)(ggml_backend_reg_t reg, size_t index);
    void *(*get_proc_address)(ggml_backend_reg_t reg, const char *name); /* [opt] */
};

struct ggml_backend_reg {
    int api_version;
    struct ggml_backend_reg_i iface;
    void *context;
};

/* ---- Device --------------------------------------------------------------------------------- */

struct ggml_backend_device_i {
    const char *(*get_name)(ggml_backend_dev_t dev);
    const char *(*get_description)(ggml_backend_dev_t dev);
    void (*get_memory)(ggml_backend_dev_t dev, size_t *free, size_t *total);
    enum ggml_backend_dev_type (*get_type)(ggml_backend_dev_t dev);
    void (*get_props)(ggml_backend_dev_t dev, struct ggml_backend_dev_props *props);
    ggml_backend_t (*init_backend)(ggml_backend_dev_t dev, const char *params);
    ggml_backend_buffer_type_t (*get_buffer_type)(ggml_backend_dev_t dev);
    ggml_backend_buffer_type_t (*get_host_buffer_type)(ggml_backend_dev_t dev); /* [opt] */
    ggml_backend_buffer_t (*buffer_from_host_ptr)(ggml_backend_dev_t dev, void *ptr, size_t size,
                                                  size_t max_tensor_size); /* [opt] */
    bool (*supports_op)(ggml_backend_dev_t dev, const struct ggml_tensor *op);
    bool (*supports_buft)(ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft);
    bool (*offload_op)(ggml_backend_dev_t dev, const struct ggml_tensor *op);      /* [opt] */
    ggml_backend_event_t (*event_new)(ggml_backend_dev_t dev);                     /* [opt] */
    void (*event_free)(ggml_backend_dev_t dev, ggml_backend_event_t event);        /* [opt] */
    void (*event_synchronize)(ggml_backend_dev_t dev, ggml_backend_event_t event); /* [opt] */
};

struct ggml_backend_device {
    struct ggml_backend_device_i iface;
    ggml_backend_reg_t reg;
    void *context;
};

/* ---- Buffer type ---------------------------------------------------------------------------- */

struct ggml_backend_buffer_type_i {
    const char *(*get_name)(ggml_backend_buffer_type_t buft);
    ggml_backend_buffer_t (*alloc_buffer)(ggml_backend_buffer_type_t buft, size_t size);
#if VGR_GGML_API >= 3
    ggml_backend_buffer_t (*alloc_buffer_n)(ggml_backend_buffer_type_t buft,
                                            struct ggml_tensor **tensors,
                                            int n_tensors); /* [opt] */
#endif
    size_t (*get_alignment)(ggml_backend_buffer_type_t buft);
    size_t (*get_max_size)(ggml_backend_buffer_type_t buft); /* [opt] */
    size_t (*get_alloc_size)(ggml_backend_buffer_type_t buft,
                             const struct ggml_tensor *tensor); /* [opt] */
#if VGR_GGML_API >= 3
    size_t (*get_alloc_size_n)(ggml_backend_buffer_type_t buft, struct ggml_tensor **tensors,
                               int n_tensors); /* [opt] */
#endif
    bool (*is_host)(ggml_backend_buffer_type_t buft); /* [opt] */
};

struct ggml_backend_buffer_type {
    struct ggml_backend_buffer_type_i iface;
    ggml_backend_dev_t device;
    void *context;
};

/* ---- Buffer --------------------------------------------------------------------------------- */

struct ggml_backend_buffer_i {
    void (*free_buffer)(ggml_backend_buffer_t buffer); /* [opt] */
    void *(*get_base)(ggml_backend_buffer_t buffer);
    enum ggml_status (*init_tensor)(ggml_backend_buffer_t buffer,
                                    struct ggml_tensor *tensor); /* [opt] */
    void (*memset_tensor)(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor, uint8_t value,
                          size_t offset, size_t size);
    void (*set_tensor)(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor, const void *data,
                       size_t offset, size_t size);
    void (*get_tensor)(ggml_backend_buffer_t buffer, const struct ggml_tensor *tensor, void *data,
                       size_t offset, size_t size);
    void (*set_tensor_2d)(ggml_backend_buffer_t buffer, struct ggml_tensor *tensor,
                          const void *data, size_t offset, size_t size, size_t n_copies,
                          size_t stride_tensor, size_t stride_data); /* [opt] */
    void (*get_tensor_2d)(ggml_backend_buffer_t buffer, const struct ggml_tensor *tensor,
                          void *data, size_t offset, size_t size, size_t n_copies,
                          size_t stride_tensor, size_t stride_data); /* [opt] */
    bool (*cpy_tensor)(ggml_backend_buffer_t buffer, const struct ggml_tensor *src,
                       struct ggml_tensor *dst); /* [opt] dst lies in buffer */
    void (*clear)(ggml_backend_buffer_t buffer, uint8_t value);
    void (*reset)(ggml_backend_buffer_t buffer); /* [opt] */
};

struct ggml_backend_buffer {
    struct ggml_backend_buffer_i iface;
    ggml_backend_buffer_type_t buft;
    void *context;
    size_t size;
    enum ggml_backend_buffer_usage usage;
};

/* ---- Backend: a stream of commands for one device ------------------------------------------- */

/* GGML up to 0.19 does not have the last argument of graph_optimize, from 0.23 on it is there; the
 * layout's number did not change. So it may be given to any backend, since one that does not know it
 * does not look, and must not be trusted before VGR_GGML_HAS_ALLOC_DEPS. */
struct ggml_backend_graph_optimize_params {
    /* Keep the memory of `tensor` until the node `until` of the same graph has run. Anything else than
     * a node makes GGML abort. */
    void (*add_alloc_dep)(void *user_data, struct ggml_tensor *tensor, struct ggml_tensor *until);
    void *user_data;
};

struct ggml_backend_i {
    const char *(*get_name)(ggml_backend_t backend);
    void (*free)(ggml_backend_t backend);
    void (*set_tensor_async)(ggml_backend_t backend, struct ggml_tensor *tensor, const void *data,
                             size_t offset, size_t size); /* [opt] */
    void (*get_tensor_async)(ggml_backend_t backend, const struct ggml_tensor *tensor, void *data,
                             size_t offset, size_t size); /* [opt] */
    void (*set_tensor_2d_async)(ggml_backend_t backend, struct ggml_tensor *tensor,
                                const void *data, size_t offset, size_t size, size_t n_copies,
                                size_t stride_tensor, size_t stride_data); /* [opt] */
    void (*get_tensor_2d_async)(ggml_backend_t backend, const struct ggml_tensor *tensor,
                                void *data, size_t offset, size_t size, size_t n_copies,
                                size_t stride_tensor, size_t stride_data); /* [opt] */
    bool (*cpy_tensor_async)(ggml_backend_t src_backend, ggml_backend_t dst_backend,
                             const struct ggml_tensor *src, struct ggml_tensor *dst); /* [opt] */
    void (*synchronize)(ggml_backend_t backend);                                      /* [opt] */
    ggml_backend_graph_plan_t (*graph_plan_create)(ggml_backend_t backend,
                                                   const struct ggml_cgraph *graph); /* [opt] */
    void (*graph_plan_free)(ggml_backend_t backend, ggml_backend_graph_plan_t plan); /* [opt] */
    void (*graph_plan_update)(ggml_backend_t backend, ggml_backend_graph_plan_t plan,
                              const struct ggml_cgraph *graph); /* [opt] */
    enum ggml_status (*graph_plan_compute)(ggml_backend_t backend,
                                           ggml_backend_graph_plan_t plan); /* [opt] */
    enum ggml_status (*graph_compute)(ggml_backend_t backend, struct ggml_cgraph *graph);
    void (*event_record)(ggml_backend_t backend, ggml_backend_event_t event); /* [opt] */
    void (*event_wait)(ggml_backend_t backend, ggml_backend_event_t event);   /* [opt] */
    void (*graph_optimize)(ggml_backend_t backend, struct ggml_cgraph *graph,
                           struct ggml_backend_graph_optimize_params *params); /* [opt] */
};

struct ggml_backend {
    ggml_guid_t guid;
    struct ggml_backend_i iface;
    ggml_backend_dev_t device;
    void *context;
};

struct ggml_backend_event {
    struct ggml_backend_device *device;
    void *context;
};

/* Exported by libggml-base, declared in no installed header. The interface struct is passed by
 * value; the result is malloc'ed and freed by ggml_backend_buffer_free(). */
ggml_backend_buffer_t ggml_backend_buffer_init(ggml_backend_buffer_type_t buft,
                                               struct ggml_backend_buffer_i iface, void *context,
                                               size_t size);

__attribute__((format(printf, 2, 3))) void ggml_log_internal(enum ggml_log_level level,
                                                             const char *format, ...);

/* Their numbers of slots, as counted in live backends. */
#define VGR_GGML_SLOTS(type, n) static_assert(sizeof(struct type) == (n) * sizeof(void *), "slots")
VGR_GGML_SLOTS(ggml_backend_reg_i, 4);
VGR_GGML_SLOTS(ggml_backend_device_i, 15);
VGR_GGML_SLOTS(ggml_backend_buffer_type_i, VGR_GGML_API >= 3 ? 8 : 6);
VGR_GGML_SLOTS(ggml_backend_buffer_i, 11);
VGR_GGML_SLOTS(ggml_backend_i, 16);
#undef VGR_GGML_SLOTS

/* ---- Graph ---------------------------------------------------------------------------------- */

/* Open addressing with linear probing; slot = (address >> 4) % size; a bit of `used` per slot. */
struct ggml_hash_set {
    size_t size;
    uint32_t *used;
    struct ggml_tensor **keys;
};

/* The fields up to visited_hash_set; more follow. Nodes and their number have public accessors. The
 * use counts have none: see cgraph.h, which trusts this only after a trial. use_counts[slot] is the
 * number of src[] references to the tensor in that slot of the hash set. */
struct ggml_cgraph {
    int size;
    int n_nodes;
    int n_leafs;
    struct ggml_tensor **nodes;
    struct ggml_tensor **grads;
    struct ggml_tensor **grad_accs;
    struct ggml_tensor **leafs;
    int32_t *use_counts;
    struct ggml_hash_set visited_hash_set;
};

#endif
