/* SPDX-License-Identifier: MIT
 *
 * registered - prints the names of GGML's devices, in the order in which they are registered.
 */
#include <ggml-backend.h>
#include <stdio.h>

int main(void)
{
    ggml_backend_load_all();
    for (size_t i = 0; i < ggml_backend_dev_count(); i++)
        printf("%s%s", i ? " " : "", ggml_backend_dev_name(ggml_backend_dev_get(i)));
    puts("");
    return 0;
}
