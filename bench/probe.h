/* SPDX-License-Identifier: MIT
 *
 * probe.h - what vgr-probe measures, and on what.
 */
#ifndef VGR_BENCH_PROBE_H
#define VGR_BENCH_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include <ggml-backend.h>
#include <ggml.h>

struct probe {
    const char *device_name, *plugin, *rpc; /* NULL: not given */
    long iterations, seconds, pause_us;     /* limits of each measure; time between two steps */
    size_t bytes;                           /* of a transfer */
    ggml_backend_dev_t dev;
    ggml_backend_t backend;
    double open_ms;   /* from the first look for devices until this one was there */
    double issued_us; /* by a step that ends before its time: when; else 0 */
    double *sample;   /* room for `iterations` times */
};

/* Microseconds of a clock that only goes forward. */
double probe_now_us(void);

/* Prints one line and ends the program with status 1. */
__attribute__((format(printf, 1, 2), noreturn)) void probe_die(const char *fmt, ...);

/* Each measures p->dev, prints a line of JSON, and ends the program if the device fails or gives
 * wrong bytes. */
void probe_rtt(struct probe *p);
void probe_step(struct probe *p);
void probe_issue(struct probe *p);
void probe_idle(struct probe *p);
void probe_upload(struct probe *p);
void probe_pinned(struct probe *p);
void probe_pinned_async(struct probe *p);
void probe_download(struct probe *p);
void probe_memcpy(struct probe *p);

#endif
