/* SPDX-License-Identifier: MIT
 *
 * For the build: asks the installed GGML for the API version of its backends, which no public header
 * tells and no rule about GGML's own version has told for long. A backend's registry entry begins
 * with it. Only CPU backends are loaded: they are always there, and a build starts no GPU.
 */
#include <glob.h>
#include <stdio.h>

#include <ggml-backend.h>

int main(void)
{
    ggml_backend_reg_t reg = NULL;
    glob_t found;

    if (glob(VGR_BACKEND_DIR "/libggml-cpu*.so", 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && !reg; i++)
            reg = ggml_backend_load(found.gl_pathv[i]); /* NULL: for another processor */
        globfree(&found);
    }
    if (!reg)
        return 1;
    printf("%d\n", *(const int *)(const void *)reg);
    return 0;
}
