/* SPDX-License-Identifier: MIT
 *
 * wire.h - the vgr wire format: everything that guest and host agree on.
 *
 * Theory of operation
 * -------------------
 *
 * A guest process owns one *context*. A context is one *arena*: memory that the guest allocates (a
 * virtio-gpu resource, or a memfd on the direct front) and that one worker process on the host maps
 * too. The arena holds, in this order of offsets chosen by the guest:
 *
 *   control page   4096 bytes at offset 0: the guest's hello, ring positions, completion, error
 *   command ring   a power of two of bytes; the guest produces, the worker consumes
 *   data heap      uploads, downloads, graph definitions, replies; managed by the guest alone
 *
 * Commands go into the ring and are not answered one by one. Each has an implicit sequence number:
 * the first command after the handshake is 1, the next 2, and so on. The worker publishes the last
 * number whose effects are complete in `done`. A command that returns data says where in the heap
 * the data goes; it is there once `done` has reached the command's number. Failure is sticky: the
 * first bad command puts a code and a text into the control page and ends the context.
 *
 * A context with several devices may have a ring for each, a *queue*: page, ring, sequence numbers and
 * handles of its own, so that one device's work does not hold up another's. The control page and the
 * command ring above are queue 0, which serves device 0 and every device that has no other queue.
 *
 * All integers are little-endian. Both ends run on 64-bit little-endian machines; there is no byte
 * swapping. All offsets and lengths are in bytes. Reserved fields are written as 0 and ignored.
 * Offsets named `*_off` count from the start of the arena.
 *
 * docs/protocol.md tells the same story in prose, with the sequence of a session.
 */
#ifndef VGR_PROTOCOL_WIRE_H
#define VGR_PROTOCOL_WIRE_H

#include <assert.h>
#include <stdint.h>

#define VGR_MAGIC            0x31524756u /* "VGR1" */
#define VGR_PROTOCOL_VERSION 1u

/* ---- Discovery ------------------------------------------------------------------------------ */

/* Capset id in the virtio-gpu device. Linux keeps a 32-bit mask of ids and takes 1..6 for its own;
 * 20 is unassigned (include/uapi/linux/virtio_gpu.h). */
#define VGR_CAPSET_ID      20u
#define VGR_CAPSET_VERSION 1u

/* What the front tells before a context exists: the virtio-gpu capset of id VGR_CAPSET_ID, and the
 * first message of the server on the direct front's socket. */
struct vgr_capset {
    uint32_t magic;       /* VGR_MAGIC */
    uint32_t version_min; /* protocol versions served, inclusive */
    uint32_t version_max;
    uint32_t features;  /* VGR_FEATURE_*; 0 today */
    uint64_t arena_min; /* accepted arena sizes */
    uint64_t arena_max;
    uint64_t arena_default;
    uint64_t reserved[3];
};
static_assert(sizeof(struct vgr_capset) == 64, "wire");

/* ---- Submissions ---------------------------------------------------------------------------- */

/* What a guest puts into a virtio-gpu SUBMIT_3D (DRM_IOCTL_VIRTGPU_EXECBUFFER). Never tensor
 * commands, these go through the ring: only what concerns the context as a whole. A submission that
 * carries a fence has the fence held until the worker wakes the guest, and only for
 * VGR_SUBMIT_WAIT; all others complete at once. */
enum vgr_submit_op {
    VGR_SUBMIT_OPEN = 1,     /* start a worker on the arena `resource` of `size` bytes */
    VGR_SUBMIT_DOORBELL = 2, /* wake the worker: the ring has commands */
    VGR_SUBMIT_WAIT = 3,     /* wake me (complete this fence) at the worker's next wake-up */
    VGR_SUBMIT_CLAIM = 4,    /* bridge only: this context is none of graphics, see below */
};

struct vgr_submit {
    uint32_t magic;    /* VGR_MAGIC */
    uint32_t op;       /* enum vgr_submit_op */
    uint32_t resource; /* OPEN: virtio-gpu resource id of the arena */
    uint32_t reserved;
    uint64_t size; /* OPEN: arena size */
    uint64_t reserved2;
};
static_assert(sizeof(struct vgr_submit) == 32, "wire");

/* ---- Bridge --------------------------------------------------------------------------------- */

/* A virtio-gpu with 3D graphics, in whose host a bridge stands before virglrenderer. Its capset of id
 * VGR_BRIDGE_CAPSET_ID ends with a trailer, at a multiple of 8 bytes, which other guests never ask
 * for: that is virgl's first capset, of one size for ever. (Its second one grows, and a guest's Mesa that
 * knows more of it than the host's virglrenderer has values of its own for what the host does not give.)
 * A guest that finds the signature makes a context of capset VGR_BRIDGE_CONTEXT_CAPSET with
 * VGR_BRIDGE_RINGS rings (VIRTGPU_CONTEXT_INIT) and claims it by its first submission, before it makes
 * its arena. From then on the context is ours: its submissions are struct vgr_bridge_submit, whose first
 * word is a no-operation for virglrenderer, and its fences on rings 1 and 2 mean what vgr_bridge_ring
 * says; others complete at once.
 *
 * The arena is a HOST3D blob of VGR_BRIDGE_BLOB_ID where the device has host-visible memory, else a
 * resource in guest memory. */
#define VGR_BRIDGE_CAPSET_ID      1u
#define VGR_BRIDGE_CAPSET_VERSION 1u
#define VGR_BRIDGE_SIGNATURE      "vgr-bridge\xd3\x1c\x96\x2e\x01" /* 16 bytes with the NUL */
#define VGR_BRIDGE_CONTEXT_CAPSET 2u
#define VGR_BRIDGE_BLOB_ID        0x56475231u

struct vgr_bridge_trailer {
    char signature[16];
    struct vgr_capset capset;
};
static_assert(sizeof(struct vgr_bridge_trailer) == 80, "wire");
static_assert(sizeof(VGR_BRIDGE_SIGNATURE) == 16, "wire");

#define VGR_BRIDGE_NOP (9u << 16) /* virgl's command 0, and the length in words of what follows */

struct vgr_bridge_submit {
    uint32_t nop; /* VGR_BRIDGE_NOP */
    uint32_t reserved;
    struct vgr_submit submit;
};
static_assert(sizeof(struct vgr_bridge_submit) == 40, "wire");

enum vgr_bridge_ring {
    VGR_BRIDGE_RING_WAIT = 1, /* with WAIT: completes at the worker's next wake-up */
    VGR_BRIDGE_RING_LIFE = 2, /* with OPEN: completes when the worker is gone, so that the guest's
                                 kernel keeps the arena's pages until then */
    VGR_BRIDGE_RINGS = 3,     /* ring 0 is not ours */
};

/* ---- Direct front --------------------------------------------------------------------------- */

/* A SOCK_STREAM unix socket. The server sends struct vgr_capset on accept. The client answers with one
 * struct vgr_submit of op VGR_SUBMIT_OPEN (resource 0) and two descriptors as SCM_RIGHTS: the arena's
 * memfd, sealed against shrinking, and one end of a pair of stream sockets, the line: a byte to the
 * worker is a doorbell, a byte from it a wake-up, and whoever reads takes all there is. The client sends
 * nothing else: more ends the context, at once or a while later. Either end closes the socket to end it.
 *
 * A context that ends without its worker's word in the control page (it is refused, the worker died or ran
 * for too long) ends with a struct vgr_notice on the socket. Nobody but the client and its worker writes to
 * the arena. */
#define VGR_DIRECT_NFDS 2

#define VGR_NOTICE_TEXT 256u

struct vgr_notice {
    uint32_t magic; /* VGR_MAGIC */
    uint32_t error; /* enum vgr_error */
    char text[VGR_NOTICE_TEXT];
};
static_assert(sizeof(struct vgr_notice) == 264, "wire");

/* ---- Control page --------------------------------------------------------------------------- */

#define VGR_CONTROL_SIZE 4096u
#define VGR_CONTROL_TEXT 256u

enum vgr_state {
    VGR_STATE_NONE = 0,     /* nobody has looked at the arena yet */
    VGR_STATE_STARTING = 1, /* a worker has mapped it and loads its backends */
    VGR_STATE_READY = 2,    /* the reply is in place, the ring is being consumed */
    VGR_STATE_FAILED = 3,   /* final; error and error_text say why */
};

enum vgr_error {
    VGR_ERROR_NONE = 0,
    VGR_ERROR_VERSION = 1,      /* no common protocol version */
    VGR_ERROR_HELLO = 2,        /* hello is malformed */
    VGR_ERROR_ARENA = 3,        /* size, limits or page list of the arena */
    VGR_ERROR_NO_DEVICE = 4,    /* the host has no device to offer */
    VGR_ERROR_RING = 5,         /* ring positions or record sizes are impossible */
    VGR_ERROR_COMMAND = 6,      /* unknown or malformed command */
    VGR_ERROR_HANDLE = 7,       /* no such buffer, stream, graph or device */
    VGR_ERROR_RANGE = 8,        /* outside a buffer or the heap */
    VGR_ERROR_GRAPH = 9,        /* graph refused: structure, op, type, extent */
    VGR_ERROR_COMPUTE = 10,     /* the host's backend failed to compute */
    VGR_ERROR_LIMIT = 11,       /* a limit of the host; the text says which */
    VGR_ERROR_WORKER_DIED = 12, /* written by the front */
    VGR_ERROR_INTERNAL = 13,    /* the host ran out of something */
};

/* The guest's first words, constant once VGR_SUBMIT_OPEN is sent. */
struct vgr_hello {
    uint32_t magic;
    uint32_t version; /* the version the guest speaks */
    uint64_t arena_size;
    uint32_t ring_off;  /* multiple of 4096, after the control page */
    uint32_t ring_size; /* power of two, VGR_RING_MIN..VGR_RING_MAX */
    uint32_t heap_off;  /* multiple of 4096, after the ring; up to the end of the arena */
    uint32_t dict_off;  /* in the heap: the guest's dictionary, see below */
    uint32_t dict_len;
    uint32_t reply_off; /* in the heap: where the worker puts struct vgr_reply and what follows */
    uint32_t reply_cap; /* room there */
    uint32_t features;
    uint64_t reserved;
};
static_assert(sizeof(struct vgr_hello) == 56, "wire");

#define VGR_RING_MIN (16u << 10)
#define VGR_RING_MAX (16u << 20)

/* One cache line for each writer, so that polling one never steals another. Fields are accessed with
 * the C11 atomics of ring.h; [g] is written by the guest, [w] by the worker, [f] by the front. */
struct vgr_control {
    struct vgr_hello hello; /* [g] offset 0 */
    uint8_t pad0[8];

    uint32_t tail; /* [g] offset 64: bytes ever produced, mod 2^32 */
    uint8_t pad1[60];

    uint64_t wait_seq; /* [g] offset 128: wake me once done >= this; 0: I am not asleep */
    uint8_t pad2[56];

    uint32_t head;   /* [w] offset 192: bytes ever consumed, mod 2^32 */
    uint32_t asleep; /* [w,g] the worker sleeps: ring the doorbell. The guest that rings
                               exchanges it with 0, so that one sleep costs one doorbell */
    uint8_t pad3[56];

    uint64_t done; /* [w] offset 256: last sequence number that is complete */
    uint8_t pad4[56];

    uint32_t state;                    /* [w,f] offset 320: enum vgr_state */
    uint32_t error;                    /* [w,f] enum vgr_error, valid in VGR_STATE_FAILED */
    uint64_t error_seq;                /* [w] the command that failed, 0: none */
    char error_text[VGR_CONTROL_TEXT]; /* [w,f] UTF-8, NUL-terminated; not trusted by the guest */
};
static_assert(sizeof(struct vgr_control) <= VGR_CONTROL_SIZE, "wire");
static_assert(__builtin_offsetof(struct vgr_control, tail) == 64, "wire");
static_assert(__builtin_offsetof(struct vgr_control, wait_seq) == 128, "wire");
static_assert(__builtin_offsetof(struct vgr_control, head) == 192, "wire");
static_assert(__builtin_offsetof(struct vgr_control, done) == 256, "wire");
static_assert(__builtin_offsetof(struct vgr_control, state) == 320, "wire");

/* ---- Dictionary: names for numbers ---------------------------------------------------------- */

/* Op, unary, GLU and type numbers move between GGML versions; names do not. Each end describes its
 * own numbers. Commands carry the *guest's* numbers; the worker translates by name. The guest uses
 * the host's dictionary to know what the host lacks. */
enum vgr_dict_kind {
    VGR_DICT_OP = 0,    /* ggml_op_name() */
    VGR_DICT_UNARY = 1, /* ggml_unary_op_name(); value of op_params[0] of op UNARY */
    VGR_DICT_GLU = 2,   /* ggml_glu_op_name(); value of op_params[0] of op GLU */
    VGR_DICT_TYPE = 3,  /* ggml_type_name() */
    VGR_DICT_KINDS
};

#define VGR_DICT_MAX_NUMBER  255u /* numbers are 0..255 */
#define VGR_DICT_MAX_ENTRIES 1024u

struct vgr_dict_entry {
    uint16_t kind; /* enum vgr_dict_kind */
    uint16_t number;
    uint32_t block_size; /* TYPE: elements a block (ggml_blck_size), else 0 */
    uint32_t type_size;  /* TYPE: bytes a block (ggml_type_size), else 0 */
    uint32_t reserved;
    char name[32]; /* NUL-terminated */
};
static_assert(sizeof(struct vgr_dict_entry) == 48, "wire");

struct vgr_dict {
    uint32_t n_entries;
    uint32_t reserved;
    char ggml_version[24]; /* ggml_version(), NUL-terminated */
    struct vgr_dict_entry entries[];
};
static_assert(sizeof(struct vgr_dict) == 32, "wire");

/* ---- Reply ---------------------------------------------------------------------------------- */

#define VGR_MAX_DEVICES 16u

enum vgr_device_type { /* of the host device; numbers as in enum ggml_backend_dev_type */
                       VGR_DEVICE_CPU = 0,
                       VGR_DEVICE_GPU = 1,
                       VGR_DEVICE_IGPU = 2,
                       VGR_DEVICE_ACCEL = 3,
};

/* The device may have a queue of its own (QUEUE_OPEN). */
#define VGR_DEVICE_OWN_QUEUE 1u

struct vgr_device_info {
    char name[64]; /* on the host: "Vulkan0", "CUDA0", "CPU" */
    char description[128];
    uint32_t type;        /* enum vgr_device_type */
    uint32_t flags;       /* VGR_DEVICE_* */
    uint64_t alignment;   /* of tensors in a buffer, power of two */
    uint64_t max_size;    /* of one buffer */
    uint64_t memory_free; /* at the handshake; VGR_CMD_QUERY_MEMORY for now */
    uint64_t memory_total;
};
static_assert(sizeof(struct vgr_device_info) == 232, "wire");

#define VGR_KEPT_DEFAULT (2u << 20) /* of hosts that do not say */

/* What tells a device from others of the host, whatever backend it is reached through: a PCI address in
 * most cases. Two devices of the same id are one GPU. Empty: not known. */
struct vgr_device_id {
    char id[64]; /* NUL-terminated */
};
static_assert(sizeof(struct vgr_device_id) == 64, "wire");

/* At hello.reply_off when state becomes READY; the dictionary of the host follows at dict_off,
 * counted from the start of this struct, as is ids_off. */
struct vgr_reply {
    uint32_t magic;
    uint32_t version; /* the version both speak now */
    uint32_t features;
    uint32_t n_devices;
    uint32_t max_buffers; /* handles are 1..max_buffers, in each queue */
    uint32_t max_streams; /* handles are 1..max_streams, in each queue */
    uint32_t max_graphs;  /* handles are 1..max_graphs, in each queue */
    uint32_t max_tensors; /* in one graph */
    uint32_t dict_off;
    uint32_t dict_len;
    uint64_t max_kept; /* tensors in all graphs of all queues; 0: VGR_KEPT_DEFAULT */
    uint32_t ids_off;  /* of n_devices of struct vgr_device_id, a multiple of 8; 0: none */
    uint32_t reserved;
    uint64_t reserved2;
    struct vgr_device_info devices[VGR_MAX_DEVICES];
};
static_assert(sizeof(struct vgr_reply) == 64 + 16 * 232, "wire");

/* ---- Commands ------------------------------------------------------------------------------- */

/* Each record starts at a multiple of 8 in the ring, does not wrap, and is a multiple of 8 long. A
 * record that would wrap is preceded by VGR_CMD_PAD up to the end of the ring. PAD has no sequence
 * number. No record is longer than a quarter of the ring. */
enum vgr_cmd_op {
    VGR_CMD_PAD = 0,
    VGR_CMD_SYNC = 1, /* nothing; `done` reaches it when all before it is complete */
    VGR_CMD_STREAM_OPEN = 2,
    VGR_CMD_STREAM_CLOSE = 3,
    VGR_CMD_BUFFER_ALLOC = 4, /* replies */
    VGR_CMD_BUFFER_FREE = 5,
    VGR_CMD_SET = 6,        /* heap -> buffer */
    VGR_CMD_SET_INLINE = 7, /* ring -> buffer */
    VGR_CMD_GET = 8,        /* buffer -> heap */
    VGR_CMD_MEMSET = 9,
    VGR_CMD_COPY = 10, /* buffer -> buffer */
    VGR_CMD_INIT_TENSOR = 11,
    VGR_CMD_GRAPH_DEFINE = 12,
    VGR_CMD_GRAPH_PATCH = 13,
    VGR_CMD_GRAPH_RUN = 14,
    VGR_CMD_GRAPH_FREE = 15,
    VGR_CMD_QUERY_OP = 16,     /* replies */
    VGR_CMD_QUERY_MEMORY = 17, /* replies */
    VGR_CMD_QUERY_ORDER = 18,  /* replies */
    VGR_CMD_STREAM_WAIT = 19,
    VGR_CMD_QUEUE_OPEN = 20,
    VGR_CMD_QUEUE_WAIT = 21,
    VGR_CMD_COUNT
};

/* Complete this one soon: the guest is going to wait for it. Without it the worker may let work run
 * asynchronously and publish `done` late (it always does before it sleeps). */
#define VGR_CMD_F_AWAIT 1u

struct vgr_cmd {
    uint16_t op;    /* enum vgr_cmd_op */
    uint16_t flags; /* VGR_CMD_F_* */
    uint32_t size;  /* of the whole record, this header included */
};
static_assert(sizeof(struct vgr_cmd) == 8, "wire");

/* STREAM_OPEN, STREAM_CLOSE: a stream is a ggml_backend of a device. Commands that name stream 0 use
 * the device's plain synchronous calls. */
struct vgr_cmd_stream {
    struct vgr_cmd h;
    uint32_t stream;
    uint32_t device; /* OPEN: index into vgr_reply.devices */
};
static_assert(sizeof(struct vgr_cmd_stream) == 16, "wire");

/* QUEUE_OPEN, in queue 0: from here on `device` has a queue of its own, whose number is the
 * device's. At `off` in the heap, a multiple of 4096, lie a page and the queue's ring. The page is
 * laid out as the control page and starts out as zeros; tail, wait_seq, head, asleep and done are
 * those of the queue, and the rest of it is not used. The device must have VGR_DEVICE_OWN_QUEUE and
 * nothing in queue 0. */
struct vgr_cmd_queue_open {
    struct vgr_cmd h;
    uint32_t device;
    uint32_t off;
    uint32_t ring_size; /* power of two, VGR_RING_MIN..VGR_RING_MAX */
    uint32_t reserved;
};
static_assert(sizeof(struct vgr_cmd_queue_open) == 24, "wire");

/* QUEUE_WAIT: what follows in this queue runs after command `seq` of another queue is complete. That
 * command must have been made visible before this one is. */
struct vgr_cmd_queue_wait {
    struct vgr_cmd h;
    uint32_t queue;
    uint32_t reserved;
    uint64_t seq;
};
static_assert(sizeof(struct vgr_cmd_queue_wait) == 24, "wire");

/* STREAM_WAIT: what `stream` is given from here on runs after all that `other` was given so far. */
struct vgr_cmd_stream_wait {
    struct vgr_cmd h;
    uint32_t stream;
    uint32_t other;
};
static_assert(sizeof(struct vgr_cmd_stream_wait) == 16, "wire");

/* BUFFER_ALLOC; struct vgr_alloc_reply at reply_off. Zeroed. The handle must be free. */
struct vgr_cmd_alloc {
    struct vgr_cmd h;
    uint32_t buffer;
    uint32_t device;
    uint64_t size;
    uint32_t usage;     /* enum ggml_backend_buffer_usage */
    uint32_t reply_off; /* multiple of 8 */
};
static_assert(sizeof(struct vgr_cmd_alloc) == 32, "wire");

struct vgr_alloc_reply {
    uint32_t ok; /* 1: allocated; 0: no memory, the handle stays free */
    uint32_t reserved;
    uint64_t size; /* as allocated */
};
static_assert(sizeof(struct vgr_alloc_reply) == 16, "wire");

/* BUFFER_FREE, GRAPH_FREE. */
struct vgr_cmd_handle {
    struct vgr_cmd h;
    uint32_t handle;
    uint32_t reserved;
};
static_assert(sizeof(struct vgr_cmd_handle) == 16, "wire");

/* SET, GET, and SET_INLINE, where `len` bytes follow the struct (record padded to 8) and data_off is
 * 0. The heap block of a SET belongs to the worker until `done` reaches it. */
struct vgr_cmd_data {
    struct vgr_cmd h;
    uint32_t buffer;
    uint16_t stream; /* 0: none */
    uint16_t reserved;
    uint64_t offset; /* in the buffer */
    uint32_t len;
    uint32_t data_off; /* in the arena, inside the heap */
};
static_assert(sizeof(struct vgr_cmd_data) == 32, "wire");

struct vgr_cmd_memset {
    struct vgr_cmd h;
    uint32_t buffer;
    uint32_t value; /* 0..255 */
    uint64_t offset;
    uint64_t len;
};
static_assert(sizeof(struct vgr_cmd_memset) == 32, "wire");

/* COPY: buffers may be of different devices; ranges must not overlap. */
struct vgr_cmd_copy {
    struct vgr_cmd h;
    uint32_t dst;
    uint32_t src;
    uint64_t dst_offset;
    uint64_t src_offset;
    uint64_t len;
    uint16_t stream;    /* 0: none */
    uint16_t src_queue; /* whose buffer src is; dst is of the queue that carries the command */
    uint16_t reserved[2];
};
static_assert(sizeof(struct vgr_cmd_copy) == 48, "wire");

/* ---- Tensors and graphs --------------------------------------------------------------------- */

#define VGR_DIMS   4
#define VGR_SRCS   10
#define VGR_PARAMS 16 /* int32; ggml_tensor.op_params */

enum vgr_tensor_flag {
    /* low bits: ggml_tensor.flags (input 1, output 2, param 4, loss 8, compute 16) */
    VGR_TENSOR_GGML_FLAGS = 0xff,
    /* of these: the node is to be computed. If no node of a graph has it, all are. */
    VGR_TENSOR_COMPUTE = 16,
    /* the result is also used outside of this graph: the host must not fuse it away */
    VGR_TENSOR_ESCAPES = 0x100,
};

/* A tensor by content. References to other tensors are 1 + index in the same array, 0: none. */
struct vgr_tensor {
    uint32_t op;     /* guest's number */
    uint32_t type;   /* guest's number */
    uint32_t flags;  /* enum vgr_tensor_flag */
    uint32_t buffer; /* handle; 0: no memory (only where no data is touched) */
    uint64_t offset; /* of the data in the buffer; never behind its end */
    int64_t ne[VGR_DIMS];
    uint64_t nb[VGR_DIMS];
    int32_t op_params[VGR_PARAMS];
    uint32_t src[VGR_SRCS];
    uint32_t view_src;
    uint32_t reserved;
    uint64_t view_offs;
};
static_assert(sizeof(struct vgr_tensor) == 208, "wire");

/* INIT_TENSOR: one tensor of a buffer, given inline; op NONE, no references. Sent for quantized
 * tensors whose allocation is larger than their data, so that the host can prepare the padding. */
struct vgr_cmd_init_tensor {
    struct vgr_cmd h;
    struct vgr_tensor tensor;
};
static_assert(sizeof(struct vgr_cmd_init_tensor) == 216, "wire");

/* GRAPH_DEFINE, GRAPH_PATCH: the payload lies in the heap and is the worker's until `done` reaches
 * the command. DEFINE replaces what the handle held. */
struct vgr_cmd_graph {
    struct vgr_cmd h;
    uint32_t graph;
    uint32_t data_len;
    uint32_t data_off; /* multiple of 8 */
    uint32_t reserved;
};
static_assert(sizeof(struct vgr_cmd_graph) == 24, "wire");

/* Payload of GRAPH_DEFINE: this, then n_tensors x struct vgr_tensor. The first n_nodes are the
 * graph's nodes in order of execution; the others are its leafs (op NONE whatever they were for the
 * guest). A node refers to leafs and to earlier nodes only, and in src[] perhaps to itself (a
 * conversion names its result as the second source); a leaf's view_src is a leaf.
 *
 * A tensor lies inside of its buffer, but for a view (op NONE, VIEW, RESHAPE, PERMUTE or TRANSPOSE, with a
 * view_src): it may extend past the end if no node reads or writes it, other than to make a view of it.
 *
 * Nothing is done for a node that has no elements or is not to be computed. Where others refer to it, they
 * find its memory. */
struct vgr_graph {
    uint32_t device;
    uint32_t n_nodes;
    uint32_t n_tensors;
    uint32_t reserved;
};
static_assert(sizeof(struct vgr_graph) == 16, "wire");

/* Payload of GRAPH_PATCH: n of these. What the graph is made of stays as DEFINE gave it: op, type, src[],
 * view_src, which nodes are to be computed, and which tensors have elements (vgr_codec_same_structure()). */
struct vgr_graph_patch {
    uint32_t index; /* of the tensor */
    uint32_t reserved;
    struct vgr_tensor tensor;
};
static_assert(sizeof(struct vgr_graph_patch) == 216, "wire");

struct vgr_cmd_run {
    struct vgr_cmd h;
    uint32_t graph;
    uint32_t stream; /* a stream of the graph's device */
};
static_assert(sizeof(struct vgr_cmd_run) == 16, "wire");

/* ---- Queries -------------------------------------------------------------------------------- */

/* QUERY_OP: can the device run the op tensors[0], and what must be allocated for its result? The
 * payload is n x struct vgr_tensor, [0] the op, then its sources; buffers and offsets are ignored.
 * struct vgr_query_reply at reply_off. */
struct vgr_cmd_query_op {
    struct vgr_cmd h;
    uint32_t device;
    uint32_t data_off; /* multiple of 8 */
    uint32_t data_len;
    uint32_t reply_off; /* multiple of 8 */
};
static_assert(sizeof(struct vgr_cmd_query_op) == 24, "wire");

struct vgr_query_reply {
    uint32_t supported;  /* ggml_backend_dev_supports_op */
    uint32_t offload;    /* ggml_backend_dev_offload_op */
    uint64_t alloc_size; /* ggml_backend_buft_get_alloc_size of tensors[0] */
};
static_assert(sizeof(struct vgr_query_reply) == 16, "wire");

struct vgr_cmd_query_memory {
    struct vgr_cmd h;
    uint32_t device;
    uint32_t reply_off; /* multiple of 8 */
};
static_assert(sizeof(struct vgr_cmd_query_memory) == 16, "wire");

struct vgr_memory_reply {
    uint64_t free;
    uint64_t total;
};
static_assert(sizeof(struct vgr_memory_reply) == 16, "wire");

/* QUERY_ORDER: in which order would the device like to run the nodes of a graph? A device knows what
 * it can fuse or overlap; GGML asks it before a graph gets its memory (graph_optimize). The payload
 * is that of GRAPH_DEFINE; buffers and offsets are ignored. At reply_off: struct vgr_order_reply, one
 * uint32_t per node, max_deps of struct vgr_order_dep. */
struct vgr_cmd_query_order {
    struct vgr_cmd h;
    uint32_t data_off; /* multiple of 8 */
    uint32_t data_len;
    uint32_t reply_off; /* multiple of 8 */
    uint32_t max_deps;
};
static_assert(sizeof(struct vgr_cmd_query_order) == 24, "wire");

enum vgr_order_answer {
    VGR_ORDER_NEVER = 0,   /* the device takes any graph as it comes: no need to ask again */
    VGR_ORDER_SAME = 1,    /* this graph is fine as it is */
    VGR_ORDER_CHANGED = 2, /* node[i] is the index of the node to run as the i-th */
};

struct vgr_order_reply {
    uint32_t answer; /* enum vgr_order_answer */
    uint32_t n_deps; /* 0 if the answer is NEVER */
    uint32_t node[]; /* valid if the answer is CHANGED */
};
static_assert(sizeof(struct vgr_order_reply) == 8, "wire");

/* The device would like the memory of a tensor not to be used for another before a node has run, since
 * it could then fuse the two. Both are indices of the payload's tensors. A wish: it is as correct
 * without, and there may be more of them than were asked for. */
struct vgr_order_dep {
    uint32_t tensor;
    uint32_t until; /* a node */
};
static_assert(sizeof(struct vgr_order_dep) == 8, "wire");

#endif
