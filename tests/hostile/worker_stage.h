/* SPDX-License-Identifier: MIT
 *
 * worker_stage.h - what stands around an attacking worker besides its front: the victim, other people's files,
 * a /dev that opens, the log's reader.
 */
#ifndef VGR_HOSTILE_WORKER_STAGE_H
#define VGR_HOSTILE_WORKER_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A /dev of this process's own, with null, zero, terminals and the like, and with nodes of every kind of device
 * that are all /dev/null in truth. */
bool stage_devices(void);

/* A folder with things that anybody may touch; and the process of user `uid` that counts its signals at
 * *hits. */
bool stage_folder(const char *folder, uid_t uid);
pid_t stage_victim(uid_t uid, uint32_t *hits);

/* Reads the log in a thread of its own, also to `copy`. */
bool stage_log(int fd, const char *copy);

/* What has come since the last call: NULL, or what is wrong with it. */
const char *stage_log_trouble(void);

#endif
