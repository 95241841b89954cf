/* SPDX-License-Identifier: MIT
 *
 * worker_clients.h - what a hostile program may hand to a front that has a socket: descriptors that make
 * whoever reads or writes them wait. Nothing of this goes through a worker; the front has to answer as before.
 */
#ifndef VGR_HOSTILE_WORKER_CLIENTS_H
#define VGR_HOSTILE_WORKER_CLIENTS_H

#include "hostile/worker_fronts.h"

/* A network device of the host's, which nobody sends to, in the place of the arena or of its list of runs. It
 * is seen first that reading it does not return. */
bool client_with_tap(struct front *f);

/* The line is full both ways, and its flags are cleared all the time; the OPEN is one to be refused. */
bool client_refused(struct front *f);

/* The same, of a worker that ends by itself. */
bool client_served(struct front *f);

#endif
