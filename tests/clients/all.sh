#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 7200 22
#
# Real programs of llama.cpp and whisper.cpp give through vgr what they give natively: all of cases.conf. A quarter of an hour on two
# cores.
exec "$VGR_TOP/tests/clients/run" --level full --min 220
