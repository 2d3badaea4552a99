# Everything starts here: `make demo` tells a story, `make test` runs every CPU test, `make help` lists the rest.
# CMake with Ninja does the work (CMakePresets.json, preset "release"); this file only remembers the commands.

BUILD := build/release
PROGRAMS := build/bin
# Compilers at once, and tests; those that measure time run alone (RUN_SERIAL).
JOBS ?= $(shell nproc)
TEST_JOBS ?= $(JOBS)
# Optional test data beside the repository: `unpack DIR` fills a folder. Tests that need it are skipped without.
TEST_DATA_UNPACK ?= ../shared/data/unpack
TEST_LABELS := ^(unit|tidy|golden|sim|fault)$$
# Of the unit tests, those that explore faults and have a long form, too.
LONG_PROGRAMS := test_recovery_explore test_actors test_ledger transport_shm_test

# Where `make install` puts the programs; DESTDIR goes in front.
PREFIX ?= /usr/local

.PHONY: build demo test bench fault-test gpu-test gpu-fault-test gpu-bench gpu-bundle install package headers format clean help
.DEFAULT_GOAL := build

build: $(BUILD)/build.ninja ## vdist-run and its programs, Release, to build/bin
	@ninja -C $(BUILD) -j $(JOBS) vdist-run

demo: $(BUILD)/build.ninja ## builds vdist-run and tells a story with the model of the repository
	@ninja -C $(BUILD) -j $(JOBS) vdist-run
	@$(PROGRAMS)/vdist-run config/demo.toml

test: build/.packages-test ## builds everything, warnings as errors, and runs every CPU test
	@grep -qs '^VDIST_TESTS:BOOL=ON' $(BUILD)/CMakeCache.txt && test -e $(BUILD)/build.ninja \
	  || cmake --preset release -DVDIST_TESTS=ON
	@if [ -z "$$VDIST_TEST_DATA" ] && [ -x $(TEST_DATA_UNPACK) ]; then $(TEST_DATA_UNPACK) build/test-data; fi
	@ninja -C $(BUILD) -j $(JOBS)
	@rm -f $(BUILD)/tests.xml
	@BOOST_TEST_REPORT_LEVEL=short BOOST_TEST_REPORT_FORMAT=XML \
	  ctest --test-dir $(BUILD) -L '$(TEST_LABELS)' -j $(TEST_JOBS) --output-on-failure --no-tests=error \
	  --test-output-size-passed 1000000 --test-output-size-failed 1000000 --output-junit tests.xml || true
	@python3 tests/support/summary.py $(BUILD)/tests.xml

bench: build/.packages-test ## builds the benchmarks and prints what they measure
	@grep -qs '^VDIST_TESTS:BOOL=ON' $(BUILD)/CMakeCache.txt && test -e $(BUILD)/build.ninja \
	  || cmake --preset release -DVDIST_TESTS=ON
	@ninja -C $(BUILD) -j $(JOBS)
	@ctest --test-dir $(BUILD) -L '^bench$$' --verbose
	@$(PROGRAMS)/vdist-bench machine
	@$(PROGRAMS)/vdist-bench scheduler
	@$(PROGRAMS)/vdist-bench collective
	@$(PROGRAMS)/vdist-bench start config/demo.toml
	@$(PROGRAMS)/vdist-bench latency config/demo.toml --tokens 200
	@$(PROGRAMS)/vdist-bench throughput config/demo.toml --sequences 64 --tokens 128
	@$(PROGRAMS)/vdist-bench control config/demo.toml
	@$(PROGRAMS)/vdist-bench serve tests/bench/serve/sim.toml --workload random:32/64 --closed 512 --requests 512 --pace 50
	@$(PROGRAMS)/vdist-bench faults config/demo.toml --n 50

fault-test: $(BUILD)/build.ninja build/.packages-test ## the long fault tests and simulations: every cell of the matrix, hours
	@grep -qs '^VDIST_TESTS:BOOL=ON' $(BUILD)/CMakeCache.txt || cmake --preset release -DVDIST_TESTS=ON
	@ninja -C $(BUILD) -j $(JOBS)
	@for program in $(LONG_PROGRAMS); do VDIST_TEST_LONG=1 $(BUILD)/tests/$$program || exit 1; done
	@VDIST_TEST_LONG=1 ctest --test-dir $(BUILD) -L '^(fault|sim)$$' --output-on-failure --no-tests=error

gpu-test: $(BUILD)/build.ninja build/.packages-test ## runs the tests that need a GPU, or several where there are; fails where there is none
	@grep -qs '^VDIST_TESTS:BOOL=ON' $(BUILD)/CMakeCache.txt || cmake --preset release -DVDIST_TESTS=ON
	@ninja -C $(BUILD) -j $(JOBS)
	@gpus=$$(nvidia-smi -L | wc -l); [ "$$gpus" -gt 1 ] && labels='^(gpu|multi_gpu)$$' || labels='^gpu$$'; \
	  VDIST_REQUIRE_GPUS=1 ctest --test-dir $(BUILD) -L "$$labels" --output-on-failure --no-tests=error

gpu-fault-test: $(BUILD)/build.ninja build/.packages-test ## kills, device errors and hangs on GPUs: streams compared, stalls measured; report in build/gpu-faults
	@grep -qs '^VDIST_TESTS:BOOL=ON' $(BUILD)/CMakeCache.txt || cmake --preset release -DVDIST_TESTS=ON
	@ninja -C $(BUILD) -j $(JOBS) vdist-run vdist-bench
	@gpus=$$(nvidia-smi -L | wc -l) && for what in exact figures long cost others; do \
	  tests/gpu/faults.py $$what --program $(PROGRAMS)/vdist-run --gpus $$gpus $(if $(MODEL),--big '$(MODEL)') || exit 1; done

gpu-bench: $(BUILD)/build.ninja build/.packages-test ## figures of one GPU: MODEL is "random:" and a folder with a config.json
	@grep -qs '^VDIST_TESTS:BOOL=ON' $(BUILD)/CMakeCache.txt || cmake --preset release -DVDIST_TESTS=ON
	@ninja -C $(BUILD) -j $(JOBS)
	@PROGRAMS=$(PROGRAMS) MODEL='$(MODEL)' tests/gpu/figures.sh

gpu-bundle: $(BUILD)/build.ninja build/.packages-test ## build/gpu-bundle: programs, tests and libraries for a machine with GPUs and nothing else
	@grep -qs '^VDIST_TESTS:BOOL=ON' $(BUILD)/CMakeCache.txt || cmake --preset release -DVDIST_TESTS=ON
	@ninja -C $(BUILD) -j $(JOBS)
	@tests/support/gpu_bundle.sh $(BUILD) $(PROGRAMS) build/gpu-bundle

install: build ## programs, configurations, the demo's model, libvdist and its headers, manual pages; to $(PREFIX)
	@ninja -C $(BUILD) -j $(JOBS) vdist-ctl vdist manual
	@cmake --install $(BUILD) --component vdist --prefix $(PREFIX) >/dev/null
	@cmake --install $(BUILD) --component devel --prefix $(PREFIX) >/dev/null
	@echo "installed: $(DESTDIR)$(PREFIX)/bin/vdist-run; try: cd $(DESTDIR)$(PREFIX)/share/vdist && vdist-run config/demo.toml"

package: build ## a relocatable archive with all libraries but glibc and CUDA: build/release/package/*.tar.gz
	@cpack --config $(BUILD)/CPackConfig.cmake -B $(BUILD)/package >/dev/null
	@ls -sh $(BUILD)/package/*.tar.gz

headers: build/.packages-test ## compiles every header alone
	@cmake --preset release -DVDIST_TESTS=ON >/dev/null
	@ninja -C $(BUILD) -j $(JOBS) headers_compile_alone

format: ## formats all C++ sources
	@find actors host kernels model programs runtime transport vdist man tests examples -regex '.*\.\(hpp\|cpp\|inl\|cu\|cuh\)' -print0 \
	  | xargs -0 clang-format -i

clean: ## removes everything that was built
	rm -rf build

help: ## prints this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

# A build folder made for the programs alone needs no Boost.Test; `make test` switches the tests on and they stay on.
$(BUILD)/build.ninja: | build/.packages-build
	@cmake --preset release -DVDIST_TESTS=OFF

build/.packages-%: packages.txt .ci/install-packages
	@.ci/install-packages $* $@
