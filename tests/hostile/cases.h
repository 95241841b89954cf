/* SPDX-License-Identifier: MIT
 *
 * cases.h - the lists of cases. Each runs in a process of its own, returns how many things it tried,
 * and may leave everything lying about: the kernel of the guest cleans up behind it.
 */
#ifndef VGR_HOSTILE_CASES_H
#define VGR_HOSTILE_CASES_H

struct hostile_case {
    const char *name;
    unsigned (*run)(void);
};

/* Each ends with an entry without a name. */
extern const struct hostile_case cases_submit[];
extern const struct hostile_case cases_kernel[];
extern const struct hostile_case cases_device[]; /* of a device that is ours alone */
extern const struct hostile_case cases_bridge[]; /* of a bridged one */
extern const struct hostile_case cases_ring[];
extern const struct hostile_case cases_flip[];
extern const struct hostile_case cases_memory[];
extern const struct hostile_case cases_many[];

#endif
