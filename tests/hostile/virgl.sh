#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 900 15
#
# The same for a VM with the bridge in its virtio-gpu (guest.sh); level check leaves out what takes long
# and is the worker's to answer on either front.
cases=()
[ "$VGR_LEVEL" = full ] ||
    cases=(handshake hellos garbage fences foreign transfers trailer claims odd mixed rings life blobs
        many-workers many-contexts)
VGR_FRONT=virgl exec "$VGR_TOP/tests/hostile/guest.sh" "${cases[@]}"
