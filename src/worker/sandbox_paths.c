/* SPDX-License-Identifier: MIT
 *
 * sandbox_paths.c - the files of a worker (sandbox_table.h). What a machine does not have needs no rule:
 * one list fits many. What the environment names comes on top (sandbox_files.c).
 */
#include "worker/boot.h"
#include "worker/sandbox_table.h"

#define READ   VGR_PATH_READ
#define LIST   VGR_PATH_LIST
#define DEVICE VGR_PATH_DEVICE
#define TASK   VGR_PATH_TASK

const struct vgr_path_row vgr_sandbox_paths[] = {
    {"/usr /lib /lib32 /lib64 /opt /nix/store /gnu/store /run/opengl-driver /run/opengl-driver-32 "
     "/run/current-system/profile /var/lib/dpkg/alternatives",
     READ, 0, "Code, and the data beside it"},
    {"/etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /etc/ld.so.preload /etc/alternatives "
     "/etc/vulkan /etc/xdg/vulkan /etc/OpenCL /etc/glvnd /etc/egl /etc/drirc /etc/nvidia "
     "/etc/vdpau_wrapper.cfg /etc/localtime /etc/timezone",
     READ, 0, "Settings of the loader, of Vulkan, OpenCL and CUDA, of Mesa and NVIDIA's driver"},
    {"/proc/cpuinfo /proc/meminfo /proc/stat /proc/version /proc/devices /proc/modules "
     "/proc/filesystems /proc/driver /proc/bus/pci "
     "/proc/sys/vm/{overcommit_memory,max_map_count,mmap_min_addr,nr_hugepages} "
     "/proc/sys/kernel/osrelease "
     "/proc/sys/kernel/pid_max /proc/sys/kernel/numa_balancing /proc/sys/kernel/random "
     "/proc/sys/dev/i915 /proc/sys/dev/xe",
     READ, 0, "The machine and its drivers"},
    {"/sys/devices/system /sys/devices/virtual /sys/bus /sys/class /sys/dev /sys/module "
     "/sys/kernel/mm /sys/fs/cgroup",
     READ, 0, "The machine's processors, memory and drivers"},
    {"/sys/devices", LIST, 0,
     "Drivers look for GPUs. Not the files: a PCI device's `resource0` and so on are its memory, "
     "other "
     "VMs' in the case of a GPU, and root's worker is their owner"},
    {"/sys/bus/pci/devices/*/{class,config,vendor,device,revision,numa_node}", READ, VGR_NODES_ALL,
     "What the PCI devices are. Seen: NVIDIA's library reads every `config`, of which the kernel "
     "shows 64 bytes"},
    {"/sys/class/drm/renderD*/device/"
     "{uevent,modalias,subsystem_vendor,subsystem_device,boot_vga,irq,"
     "local_cpulist,current_link_*,max_link_*,mem_info_*,drm,tile*}",
     READ, VGR_NODES_DRM, "What a GPU is, for Mesa"},
    {"/proc/self", READ, 0, "The process: its mappings, limits and status"},
    {"/proc/self/task", TASK, VGR_NODES_NVIDIA,
     "Names of threads: CUDA finds no device where it cannot open `comm` with O_TRUNC. The other "
     "files there belong to root, so a worker of another user cannot write to them. Root's worker "
     "can write to `mem`, its own memory, and to `oom_score_adj`, where it can go below 1000 if "
     "vgr-device lacks CAP_SYS_RESOURCE"},
    {"/dev/null /dev/zero", DEVICE, 0, "Plain memory and nothing"},
    {"/dev/urandom /dev/random", READ, 0, "Random numbers"},
    {"/dev/dri", LIST, VGR_NODES_DRM, "Mesa looks for GPUs"},
    {"/dev/dri/renderD*", DEVICE, VGR_NODES_DRM,
     "AMD's, Intel's and others' GPUs. No `card*`: it sets screens' modes"},
    {"/dev/nvidiactl /dev/nvidia-uvm /dev/nvidia[0-9]*", DEVICE, VGR_NODES_NVIDIA,
     "NVIDIA's GPUs. Not nvidia-modeset (screens), nvidia-uvm-tools (profilers), switches"},
    {"/dev/nvidia-caps/nvidia-cap[3-9] /dev/nvidia-caps/nvidia-cap[1-9][0-9]*", DEVICE,
     VGR_NODES_NVIDIA, "Parts of a divided NVIDIA GPU. Not 1 and 2, which divide it and watch it"},
    {"/dev/kfd", DEVICE, VGR_NODES_KFD, "AMD's ROCm"},
    {"/dev/dxg /dev/accel", DEVICE, VGR_NODES_OTHER, "WSL's GPU; accelerators"},
};
const size_t vgr_sandbox_n_paths = sizeof(vgr_sandbox_paths) / sizeof(vgr_sandbox_paths[0]);
