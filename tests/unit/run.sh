#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: fast 300 2
#
# The unit tests, each as a test of its own.
exec "$VGR_TOP/tests/unit/meson-test" build/obj unit
