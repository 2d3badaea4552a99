// kernels/cpu/cpu_avx2.cpp — the operation table with AVX2, FMA and F16C; compiled with the flags
// of that instruction set.
#include "kernels/cpu/op_table.hpp"

#include <cstdint>
#include <cstring>
#include <immintrin.h>

#define VDIST_ISA avx2
#define VDIST_ISA_NAME "cpu-avx2"
#define VDIST_ISA_SIMD "kernels/cpu/simd_avx2.inl"
#include "kernels/cpu/op_list.inl"
