#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 7200 23
#
# Whatever call of ours fails, of the guest library, the front, the worker, its keeper or the bridge: the program
# sees success or GGML's failure, and is told why; nothing hangs, dies or stays behind, and the next program gets
# what it wants. All calls of a start, a graph and an end, one at a time, and each way in which they can fail. On two
# quiet cores it takes a quarter of an hour.
exec "$VGR_TOP/tests/faults/drive.py" "${VGR_BUILD:-$VGR_TOP/build/obj}" "$VGR_SCRATCH"
