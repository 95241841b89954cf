/* SPDX-License-Identifier: MIT
 *
 * vgr-sandbox-table - prints the workers' sandbox (worker/sandbox_table.h) as the tables of
 * docs/security.md. Not installed; tests/build/sandbox-table compares.
 */
#include <stdio.h>
#include <string.h>

#include "worker/boot.h"
#include "worker/sandbox_table.h"

/* A list of words as "`a`, `b`"; what stands between bars in a table may have none itself. */
static void print_words(const char *words)
{
    const char *separator = "";

    while (*words) {
        size_t len = strcspn(words, " ");

        printf("%s`%.*s`", separator, (int)len, words);
        separator = ", ";
        words += len + (words[len] == ' ');
    }
}

static void print_cases(const struct vgr_call_case *cases)
{
    for (const struct vgr_call_case *c = cases; c->text; c++)
        printf("%s%s", c == cases ? "" : ", ", c->text);
}

static void print_strict(const struct vgr_call_row *row)
{
    switch (row->answer) {
    case VGR_CALL_ALLOW:
        if (row->only)
            print_cases(row->only);
        else
            printf("yes");
        if (row->refused) {
            printf("; %s: ", row->error == VGR_CALL_PRETEND ? "0, but not made"
                             : row->error                   ? strerrorname_np(row->error)
                                                            : "EPERM");
            print_cases(row->refused);
        }
        break;
    case VGR_CALL_REFUSE:
        printf("EPERM");
        break;
    case VGR_CALL_ABSENT:
        printf("ENOSYS");
        break;
    case VGR_CALL_NEVER:
        printf("killed");
        break;
    case VGR_CALL_SPLIT:
        printf(row->refused ? "yes; in parts: " : "in parts");
        if (row->refused)
            print_cases(row->refused);
        break;
    case VGR_CALL_UNLISTED:
        printf("stopped");
        break;
    }
}

static const char *relaxed(const struct vgr_call_row *row)
{
    switch (row->answer) {
    case VGR_CALL_ALLOW:
        return row->only && row->refused ? "what strict refuses is refused"
               : row->only               ? "yes"
                                         : "same";
    case VGR_CALL_NEVER:
        return "EPERM";
    case VGR_CALL_UNLISTED:
        return row->error ? strerrorname_np(row->error) : "yes";
    default:
        return "same";
    }
}

static void print_calls(void)
{
    for (size_t i = 0; i < vgr_sandbox_n_calls; i++) {
        const struct vgr_call_row *row = &vgr_sandbox_calls[i];

        if (row->part)
            printf("%s**%s**\n\n| calls | strict | relaxed | why |\n|---|---|---|---|\n",
                   i ? "\n" : "", row->part);
        printf("| ");
        print_words(row->calls);
        printf(" | ");
        print_strict(row);
        printf(" | %s | %s |\n", relaxed(row), row->why);
    }
}

static void print_nodes(uint32_t nodes)
{
    static const char *const names[] = {"Vulkan, ROCm, SYCL", "Vulkan, CUDA", "ROCm", "Vulkan"};

    if (!nodes || nodes == VGR_NODES_ALL)
        printf("%s", nodes ? "all but the CPU" : "always");
    for (unsigned bit = 0; nodes != VGR_NODES_ALL && bit < sizeof(names) / sizeof(names[0]);
         bit++) {
        if (nodes & 1u << bit)
            printf("%s, others", names[bit]);
    }
}

static void print_paths(void)
{
    static const char *const access[] = {[VGR_PATH_READ] = "read",
                                         [VGR_PATH_LIST] = "list",
                                         [VGR_PATH_DEVICE] = "read, write, ioctl",
                                         [VGR_PATH_TASK] = "read, write, cut"};

    printf("\n**Files**\n\n| paths | access | for devices | why |\n|---|---|---|---|\n");
    for (size_t i = 0; i < vgr_sandbox_n_paths; i++) {
        const struct vgr_path_row *row = &vgr_sandbox_paths[i];

        printf("| ");
        print_words(row->paths);
        printf(" | %s | ", access[row->access]);
        print_nodes(row->nodes);
        printf(" | %s |\n", row->why);
    }
}

int main(void)
{
    print_calls();
    print_paths();
    return ferror(stdout) ? 1 : 0;
}
