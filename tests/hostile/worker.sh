#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 400 15
#
# A worker in the hands of its guest, in the strict sandbox, as root and as a user of its own, in each front:
# nothing that it tries reaches what is not its own. Without the sandbox all of it succeeds. Meanwhile a context
# of the same front and another VM compute, and are right.
. "$VGR_TOP/tests/hostile/worker-lib.sh"

other_vm
some_of direct/off \
    vhost-user/strict direct/strict broker/strict \
    vhost-user/strict/nobody direct/strict/nobody broker/strict/nobody
other_vm_ends
exit "$failed"
