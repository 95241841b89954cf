/* SPDX-License-Identifier: MIT
 *
 * replay - runs a fuzzer's target on each file of a folder, in builds without libFuzzer (coverage).
 */
#include <dirent.h>

#include "fuzz.h"

/* A target that needs no preparation has none. */
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

static int is_input(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    static uint8_t data[1 << 20];
    struct dirent **list = NULL;
    char path[4096];
    int n;

    if (argc != 2)
        return 2;
    LLVMFuzzerInitialize(&argc, &argv);
    n = scandir(argv[1], &list, is_input, alphasort);
    for (int i = 0; i < n; i++) {
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", argv[1], list[i]->d_name);
        f = fopen(path, "rb");
        if (!f)
            return 1;
        LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), f));
        fclose(f);
        free(list[i]);
    }
    free(list);
    printf("%d inputs\n", n);
    return n > 0 ? 0 : 1;
}
