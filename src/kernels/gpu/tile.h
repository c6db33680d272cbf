// The common ground of all kernels: types, 16-bit floats, copies to shared memory, matrix tiles of a warp, and what may
// start before the kernel in front has ended. No include: a run-time compiler has no headers.
// Half floats are raw 16-bit words; conversions and arithmetic on them are written in PTX.
#pragma once
#ifdef EMULATE
#include "emulate.h"
#elif defined(__HIP__)
#include "hip.h"
#else
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short h16;
typedef unsigned char u8;

#define DEV static __device__ __forceinline__
#define METHOD __device__ __forceinline__
#define SHARED __shared__
#define DYNAMIC(name) extern __shared__ __align__(1024) u8 name[]
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads, 1)
// Several blocks of it share a multiprocessor.
#define SMALL_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
// As many of its blocks are to fit one.
#define CROWDED_KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
#define ARGUMENT const __grid_constant__

DEV u32 pack(float low, float high) { u32 r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r; }
DEV h16 to_half(float f) { h16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(f)); return r; }
DEV float to_float(h16 h) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(h)); return r; }
DEV float fast_exp2(float x) { float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
DEV float fast_reciprocal(float x) { float r; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
DEV u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Asynchronous copies of 16 bytes, in groups.
DEV void copy16(u32 to, const void* from) { asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory"); }
// The same, but zeros where there is nothing to copy.
DEV void copy16_or_zero(u32 to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}
DEV void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT> DEV void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }

// 8x8 matrices of half floats: a lane gives the address of a row and gets its two numbers of each matrix.
DEV void ldmatrix4(u32 (&r)[4], u32 a) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(a) : "memory");
}
DEV void ldmatrix4_transposed(u32 (&r)[4], u32 a) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(a) : "memory");
}
DEV void ldmatrix2(u32 (&r)[2], u32 a) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(a) : "memory");
}
// c (16x8) += a (16x16) b (16x8)
DEV void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// 16 bytes that are read once, past the first-level cache.
DEV uint4 load_once(const void* p) {
    uint4 v; asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p)); return v;
}
// What another multiprocessor has just written: past the first-level cache.
DEV float load_fresh(const float* p) { float v; asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory"); return v; }
DEV void prefetch(const void* p) { asm volatile("prefetch.global.L1 [%0];" ::"l"(p)); }
// Four signed bytes become two pairs of half floats, exactly: a byte is put under the exponent of 1024.
DEV void widen(u32 bytes, u32& a, u32& b) {
    u32 y = bytes ^ 0x80808080u;
    asm("prmt.b32 %0, %1, %2, 0x5150;" : "=r"(a) : "r"(y), "r"(0x64646464u));
    asm("prmt.b32 %0, %1, %2, 0x5352;" : "=r"(b) : "r"(y), "r"(0x64646464u));
    asm("sub.rn.f16x2 %0, %0, %1;" : "+r"(a) : "r"(0x64806480u));
    asm("sub.rn.f16x2 %0, %0, %1;" : "+r"(b) : "r"(0x64806480u));
}

// Four bytes become two pairs of half floats, 0 to 255.
DEV void widen_unsigned(u32 bytes, u32& a, u32& b) {
    asm("prmt.b32 %0, %1, %2, 0x5150;" : "=r"(a) : "r"(bytes), "r"(0x64646464u));
    asm("prmt.b32 %0, %1, %2, 0x5352;" : "=r"(b) : "r"(bytes), "r"(0x64646464u));
    asm("sub.rn.f16x2 %0, %0, %1;" : "+r"(a) : "r"(0x64006400u));
    asm("sub.rn.f16x2 %0, %0, %1;" : "+r"(b) : "r"(0x64006400u));
}
DEV u32 times(u32 a, u32 b) { u32 r; asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }

// Programmatic dependent launch (from sm_90 on): every block of every kernel waits for the kernel in front, whatever it
// did before; else the order of the chain would break two kernels on.
DEV void wait_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
DEV void let_next_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
#endif

DEV float low(u32 p) { return to_float((h16)(p & 0xffff)); }
DEV float high(u32 p) { return to_float((h16)(p >> 16)); }
DEV float warp_sum(float v) { for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o); return v; }
DEV float warp_max(float v) { for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, o)); return v; }
DEV int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Lower than every score, and still a number.
#define LOWEST (-1e30f)
#define LOG2E 1.44269504f
// Softmax over scores of heads 64 wide, in powers of two.
#define SCORE_SCALE (LOG2E / 8.f)

// GELU with the error function, as x / (1 + 2^-xp(x^2)): p is fitted to within 3e-6 of the exact function.
DEV float gelu(float x) {
    float y = fminf(x * x, 36.f);
    float p = fmaf(y, fmaf(y, fmaf(y, fmaf(y, 3.229177760e-06f, -8.824191945e-05f), -3.602521834e-04f), 1.052266445e-01f), 2.302045411e+00f);
    return x * fast_reciprocal(1.f + fast_exp2(-x * p));
}
