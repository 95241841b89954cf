#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: full 7200 22
#
# Real programs of llama.cpp and whisper.cpp give through vgr what they give natively: all of cases.conf, on two
# quiet cores in about a quarter of an hour.
exec "$VGR_TOP/tests/clients/run" --level full --min 220
