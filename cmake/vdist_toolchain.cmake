# Compiler settings shared by every target: C++20, warnings as errors, ccache, sanitizers.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_FLAGS_RELEASE "-O2")
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${VDIST_BIN_DIR}")
set(CMAKE_BUILD_RPATH "${VDIST_BIN_DIR}") # where libvdist_cuda.so is loaded from in a build

find_program(VDIST_CCACHE ccache)
if(VDIST_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${VDIST_CCACHE}")
endif()
if(VDIST_CLANG_TIDY)
  set(CMAKE_CXX_CLANG_TIDY clang-tidy)
endif()

add_library(vdist_flags INTERFACE)
target_include_directories(vdist_flags INTERFACE "${CMAKE_SOURCE_DIR}")
# Fields left out of a designated initialiser keep their defaults: that is what they are for.
# -ffp-contract=off: sums are defined operation by operation, so a fused multiply-add is written, never guessed.
set(vdist_cxx_flags -Wall -Wextra -Wconversion -Wno-missing-field-initializers -ffp-contract=off)
target_compile_options(vdist_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${vdist_cxx_flags}>")
target_compile_definitions(vdist_flags INTERFACE MSGPACK_NO_BOOST SPDLOG_FMT_EXTERNAL)
if(VDIST_WERROR)
  target_compile_options(vdist_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Werror>")
endif()
if(VDIST_SANITIZE)
  target_compile_options(vdist_flags INTERFACE "-fsanitize=${VDIST_SANITIZE}" -fno-omit-frame-pointer
                                               -fno-sanitize=null)
  target_link_options(vdist_flags INTERFACE "-fsanitize=${VDIST_SANITIZE}")
  # GCC 12 loses track of variants between the sanitizers' checks and takes them for uninitialised; builds without
  # sanitizers keep the warning.
  target_compile_options(vdist_flags INTERFACE -Wno-maybe-uninitialized)
  if(VDIST_SANITIZE MATCHES "thread")
    # ThreadSanitizer does not see fences. What ours and Asio's order are atomics, so it misses nothing and reports nothing false.
    target_compile_options(vdist_flags INTERFACE -Wno-tsan)
  endif()
endif()
