#!/bin/sh
# SPDX-License-Identifier: MIT
# vgr-test: check 1500 6
#
# Real programs of llama.cpp and whisper.cpp give through vgr what they give natively: a sample of each
# kind of cases.conf.
exec "$VGR_TOP/tests/clients/run" --level check --min 50
