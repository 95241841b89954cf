/* SPDX-License-Identifier: MIT
 *
 * sandbox_attempts_memory.h - attempts on memory. Part of sandbox_attempts.h.
 */
#ifndef VGR_SANDBOX_ATTEMPTS_MEMORY_H
#define VGR_SANDBOX_ATTEMPTS_MEMORY_H

#include <linux/close_range.h>

#include "sandbox_attempts.h"

static int use_userfaultfd(void)
{
    return to_errno(syscall(SYS_userfaultfd, O_CLOEXEC));
}

/* f.guest_ram has two pages: the first is the worker's, the second begins with 's'. */

static int grow_to_secret(size_t old_size)
{
    char *page = map_page();

    page = mremap(page, old_size, 8192, MREMAP_MAYMOVE);
    return page == MAP_FAILED ? errno : page[4096] == 's' ? 0 : EIO;
}

static int grow_mapping(void)
{
    return grow_to_secret(4096);
}

static int copy_mapping(void)
{
    return grow_to_secret(0);
}

static int remap_mapping(void)
{
    char *page = map_page();

    if (syscall(SYS_remap_file_pages, page, 4096, 0, 1, 0))
        return errno;
    return page[0] == 's' ? 0 : EIO;
}

static int advise(int advice)
{
    return to_errno(madvise(map_page(), 4096, advice));
}

static int punch_hole(void)
{
    return advise(MADV_REMOVE);
}

static int poison_page(void)
{
    return advise(100 /* MADV_HWPOISON */);
}

/* EINVAL: a kernel that does not have it. */
static int merge_pages(void)
{
    int err = advise(MADV_MERGEABLE);

    return err == EINVAL ? 0 : err;
}

static int unknown_advice(void)
{
    return advise(MADV_COLD);
}

/* ENOMEM, EINVAL: the machine has set none aside. */
static int take_huge_page(void)
{
    void *p = mmap(NULL, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    int err = p == MAP_FAILED ? errno : 0;

    return err == ENOMEM || err == EINVAL ? 0 : err;
}

static int huge_memfd(void)
{
    int err = to_errno(memfd_create("test", MFD_HUGETLB));

    return err == ENOENT || err == EINVAL ? 0 : err;
}

/* The arena's pages are the VM's, and so would the policy be. */
static int policy_of_shared_pages(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned long nodes = 1;
    int err = to_errno(syscall(SYS_mbind, p, 4096, 1 /* MPOL_PREFERRED */, &nodes, 64, 0));

    return err == ENOSYS ? 0 : err;
}

static int home_of_shared_pages(void)
{
    int err = to_errno(syscall(SYS_set_mempolicy_home_node, map_page(), 4096, 0, 0));

    return err == ENOSYS ? 0 : err;
}

static int move_shared_pages(void)
{
    int err = to_errno(syscall(SYS_mbind, map_page(), 4096, 0, NULL, 0, 4 /* MPOL_MF_MOVE_ALL */));

    return err == ENOSYS || err == EINVAL ? 0 : err;
}

static int ask_about_much(void)
{
    static unsigned char answer[1024];
    char *p = mmap(NULL, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED                ? EIO
           : mincore(p, 4096, answer + 4) ? EFAULT
                                          : to_errno(mincore(p, 2 << 20, answer));
}

static int read_with_flags(void)
{
    char byte;
    struct iovec iov = {&byte, 1};

    return to_errno(syscall(SYS_preadv2, f.file_fd, &iov, 1, 0, 0, 0));
}

static int own_descriptors(void)
{
    return to_errno(close_range(1000, 1001, CLOSE_RANGE_UNSHARE));
}

static int move_front_pages(void)
{
    void *page = &f;
    int status, err = to_errno(syscall(SYS_move_pages, f.parent, 1, &page, NULL, &status, 0));

    return err == ENOSYS ? 0 : err;
}

static int advise_front(void)
{
    struct iovec theirs = {(void *)((uintptr_t)&f & ~4095ul), 4096};

    return to_errno(syscall(SYS_process_madvise, f.front, &theirs, 1, MADV_COLD, 0));
}

#endif
