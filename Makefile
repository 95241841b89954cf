# SPDX-License-Identifier: MIT
#
# The developer's front door. Everything runs inside the tool box (tools/toolbox), which is made on
# first use; the build itself is meson's (see meson.build), also without any of this.

IN_ROOT := tools/in-root --
BUILD := build/obj

# The host device for `make demo` and `make bench`, such as Vulkan0 or CPU.
DEVICE ?=

# How `make demo` attaches the guest: vhost-user or virgl (inside of a device of 3D graphics).
FRONT ?=

# More options for `make bench`; bench/run --help lists them.
ARGS ?=

# How long `make fuzz` runs each fuzzer.
FUZZ_SECONDS ?= 60

help:
	@echo 'make demo [DEVICE=NAME]   boot a VM and run an LLM in it on the host device NAME'
	@echo '     [FRONT=virgl]        through the VM'"'"'s virtio-gpu with 3D graphics'
	@echo 'make check                build, then run all the tests that CI runs (half an hour)'
	@echo 'make check-fast           build, then the tests without a VM (3 minutes)'
	@echo 'make check-full           everything but what takes hours; goes on where it was stopped'
	@echo 'make soak                 what takes hours: all of GGML'"'"'s suite, days on lavapipe'
	@echo 'make build                build into $(BUILD)'
	@echo 'make fuzz                 run each fuzzer for FUZZ_SECONDS (60) seconds'
	@echo 'make coverage             which branches of the code that reads guests the tests take'
	@echo 'make bench [DEVICE=NAME]  measure: tables, and build/bench.json (15 minutes)'
	@echo 'make fmt                  format the C code with clang-format'
	@echo 'make shell                a shell inside the tool box'
	@echo 'make clean                remove what was built; `make distclean` the tool box too'

toolbox:
	@tools/toolbox

build: toolbox
	@$(IN_ROOT) tools/build $(BUILD)

demo: build
	@tools/vgr-demo $(if $(DEVICE),--device $(DEVICE)) $(if $(FRONT),--front $(FRONT))

bench: build
	@bench/run $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

stable: toolbox
	@tools/toolbox --stable

check check-fast soak: toolbox
	@tests/run $(patsubst check-%,%,$@)

check-full: stable
	@tests/run --resume full

fuzz: toolbox
	@tests/fuzz/run --seconds $(FUZZ_SECONDS)

coverage: toolbox
	@tests/coverage/run

fmt: toolbox
	@$(IN_ROOT) sh -c 'find src include tools tests bench -name "*.[ch]" -exec clang-format -i {} +'

shell: toolbox
	@$(IN_ROOT) bash

clean:
	@test ! -e build/root/etc/vgr-toolbox || \
	    $(IN_ROOT) find build -mindepth 1 -maxdepth 1 ! -name 'root*' ! -name toolbox.log \
	        -exec rm -rf {} +

distclean: clean
	@if [ "$$(id -u)" -eq 0 ]; then rm -rf --one-file-system build; \
	else sudo rm -rf --one-file-system build; fi

.PHONY: help toolbox stable build demo bench check check-fast check-full soak fuzz coverage fmt shell clean distclean
