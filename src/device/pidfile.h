/* SPDX-License-Identifier: MIT
 *
 * pidfile.h - the file with the process id, for the tools of whoever starts us.
 *
 * It may lie where others can write, and we may be root. So no link is followed, and only a plain file of
 * our own user with one name is written to. One that a process of before left behind is taken over; one whose
 * process lives is locked and left alone.
 */
#ifndef VGR_DEVICE_PIDFILE_H
#define VGR_DEVICE_PIDFILE_H

#include <stddef.h>

struct vgr_pidfile {
    const char *path;
    int fd; /* locked while we live; -1: there is none */
};

/* Writes our process id into the file, which is made if it is not there. `path` stays the caller's. 0, or
 * -errno with a sentence for people in `why`. */
int vgr_pidfile_write(struct vgr_pidfile *p, const char *path, char *why, size_t why_size);

/* Removes the file, if it is still the one that was written. No-op if none was. */
void vgr_pidfile_remove(struct vgr_pidfile *p);

#endif
