#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 400 14
#
# The same with arenas in the guest's memory, which the guest's kernel uses again after each kill.
VGR_FRONT=virgl VGR_HOSTMEM=off exec "$VGR_TOP/tests/vm/killed.sh"
