/* SPDX-License-Identifier: MIT
 *
 * report.h - what the pool of workers is doing, as JSON and in Prometheus' text format.
 *
 * Both say the same with the same names (protocol/counters.h): the figures of each context that
 * lives, and the totals, which include those that ended. A context's series end with it.
 */
#ifndef VGR_DEVICE_REPORT_H
#define VGR_DEVICE_REPORT_H

#include <stddef.h>

#include "device/worker.h"

/* The report as text of *len bytes, which the caller frees. NULL: no memory. Takes some 10 us a
 * context, with which the pool's loop is charged. */
char *vgr_report_json(const struct vgr_worker_pool *pool, size_t *len);
char *vgr_report_prometheus(const struct vgr_worker_pool *pool, size_t *len);

#endif
