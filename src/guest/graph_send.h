/* SPDX-License-Identifier: MIT
 *
 * graph_send.h - a stream's graphs on their way to the worker.
 *
 * Theory of operation
 * -------------------
 *
 * What the worker keeps for a context is limited: so many graphs in a queue, so many tensors in all
 * graphs. No stream knows what the others will need, and none can take from another. So each takes an
 * eighth of what there is, divided by the number of streams at that moment: the first one open may have
 * an eighth, the second a sixteenth, and so on. A thousand streams that go that far have taken less than
 * all. What is over a stream's part has to make room when it sends the next graph; a single graph may
 * always be sent, as long as there is room at all.
 *
 * These functions are called by the stream's thread.
 */
#ifndef VGR_GUEST_GRAPH_SEND_H
#define VGR_GUEST_GRAPH_SEND_H

#include "guest/conn.h"
#include "guest/graph.h"

/* Sets how many graphs a stream of `q` may keep, and tensors in them. */
void vgr_graph_limits(struct vgr_graphs *g, const struct vgr_queue *q);

/* Sends what vgr_graphs_choose() decided on; frees other slots if need be. With the queue locked. Returns
 * 0; -E2BIG: the host has no room for it; -ENOMEM: no handle is left; -EIO: the connection failed. */
int vgr_graph_send(struct vgr_graphs *g, struct vgr_queue *q, enum vgr_graph_action action,
                   struct vgr_graph_slot *slot);

/* Frees all that the worker keeps. With the queue locked. */
void vgr_graph_drop_all(struct vgr_graphs *g, struct vgr_queue *q);

#endif
