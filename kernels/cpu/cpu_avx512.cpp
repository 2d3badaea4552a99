// kernels/cpu/cpu_avx512.cpp — the operation table with AVX-512 F, BW, DQ, VL; compiled with the
// flags of that instruction set.
#include "kernels/cpu/op_table.hpp"

#include <cstdint>
#include <cstring>
#include <immintrin.h>

#define VDIST_ISA avx512
#define VDIST_ISA_NAME "cpu-avx512"
#define VDIST_ISA_SIMD "kernels/cpu/simd_avx512.inl"
#include "kernels/cpu/op_list.inl"
