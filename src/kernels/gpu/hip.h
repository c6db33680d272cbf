// What tile.h says in PTX and CUDA's own names, for AMD's chips, by clang alone: no header and no library of ROCm.
// Enough for plain.cu. A warp is half of a wave of 64 lanes: shuffles stay inside of it.
#pragma once
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short h16;
typedef unsigned char u8;

#define DEVICE __attribute__((device))
#define DEV static DEVICE __attribute__((always_inline)) inline
#define METHOD DEVICE __attribute__((always_inline)) inline
#define SHARED __attribute__((shared))
#define DYNAMIC(name) extern __attribute__((shared, aligned(1024))) u8 name[]
#define SMALL_KERNEL(threads) \
    extern "C" __attribute__((global)) __attribute__((amdgpu_flat_work_group_size(threads, threads))) void
#define KERNEL(threads) SMALL_KERNEL(threads)
#define ARGUMENT const

struct alignas(16) float4 { float x, y, z, w; };

// Registers of a thread, under the names that CUDA has for them.
#define REGISTER(name, value) struct name { DEVICE operator int() const { return (int)value; } }
REGISTER(ThreadX, __builtin_amdgcn_workitem_id_x());
REGISTER(BlockX, __builtin_amdgcn_workgroup_id_x());
REGISTER(BlockY, __builtin_amdgcn_workgroup_id_y());
REGISTER(BlockZ, __builtin_amdgcn_workgroup_id_z());
#undef REGISTER
static constexpr struct { ThreadX x; } threadIdx = {};
static constexpr struct { BlockX x; BlockY y; BlockZ z; } blockIdx = {};

DEV void __syncthreads() {
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
DEV float __shfl_xor_sync(u32, float v, int other) {
    const int lane = __builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0u));
    return __builtin_bit_cast(float, __builtin_amdgcn_ds_bpermute((lane ^ other) * 4, __builtin_bit_cast(int, v)));
}

DEV float fmaxf(float a, float b) { return __builtin_fmaxf(a, b); }
DEV float fminf(float a, float b) { return __builtin_fminf(a, b); }
DEV float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEV float sqrtf(float x) { return __builtin_sqrtf(x); }
DEV float expf(float x) { return __builtin_expf(x); }
DEV float fast_exp2(float x) { return __builtin_amdgcn_exp2f(x); }
DEV float fast_reciprocal(float x) { return __builtin_amdgcn_rcpf(x); }
DEV float to_float(h16 h) { return (float)__builtin_bit_cast(_Float16, h); }
DEV h16 to_half(float f) { return __builtin_bit_cast(h16, (_Float16)f); }
#include "erf.h"
DEV float erff(float x) { return polynomial_erf(x); }
