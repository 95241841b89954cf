#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 900 2
#
# The unit tests again, under the address and undefined-behaviour sanitizers.
set -eu
cd "$VGR_TOP"
tools/build build/obj-asan -Db_sanitize=address,undefined -Db_lundef=false
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
exec tests/unit/meson-test build/obj-asan unit-asan
