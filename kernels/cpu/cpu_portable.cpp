// kernels/cpu/cpu_portable.cpp — the operation table for machines of any kind; compiled with the
// flags of that instruction set.
#include "kernels/cpu/op_table.hpp"

#include <cstdint>
#include <cstring>

#define VDIST_ISA portable
#define VDIST_ISA_NAME "cpu-portable"
#define VDIST_ISA_SIMD "kernels/cpu/simd_portable.inl"
#include "kernels/cpu/op_list.inl"
