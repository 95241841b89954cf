#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: check 900 15
#
# The same for a VM with the bridge in its virtio-gpu (guest.sh). Level check has neither a neighbour nor the
# cases that take long, which are the worker's to answer on either front.
. "$VGR_TOP/tests/lib.sh"

export VGR_FRONT=virgl
[ "$VGR_LEVEL" != full ] || exec "$VGR_TOP/tests/hostile/guest.sh"
"$vm" --device CPU --device-arg --contexts --device-arg 24 -- "$VGR_TOP/build/obj/tests/hostile/hostile" \
    handshake garbage fences foreign transfers trailer claims odd mixed rings life blobs many-contexts
