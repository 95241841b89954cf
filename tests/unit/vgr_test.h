/* SPDX-License-Identifier: MIT
 *
 * vgr_test.h - what every cmocka test includes, in the order cmocka wants it.
 */
#ifndef VGR_TEST_H
#define VGR_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
