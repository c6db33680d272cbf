// The kernels' own sources on the CPU: every thread of a block is a fiber, a collective is a meeting of fibers, copies are done
// when they are asked for. It finds wrong indices, wrong phases, memory that nobody wrote and deadlocks, which it reports. It
// does not find races, nor a misunderstanding of the hardware. Needs -fno-strict-aliasing and no _FORTIFY_SOURCE.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <vector>

using std::max;
using std::min;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short h16;
typedef unsigned char u8;
struct float2 { float x, y; };
struct uint2 { u32 x, y; };
struct alignas(16) uint4 { u32 x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
inline float2 make_float2(float a, float b) { return {a, b}; }
inline uint2 make_uint2(u32 a, u32 b) { return {a, b}; }
inline uint4 make_uint4(u32 a, u32 b, u32 c, u32 d) { return {a, b, c, d}; }
inline float4 make_float4(float a, float b, float c, float d) { return {a, b, c, d}; }

#define DEV static inline
#define METHOD inline
#define SHARED static
#define DYNAMIC(name) u8* name = emu_self().block->shared
#define KERNEL(threads) static void
#define SMALL_KERNEL(threads) static void
#define CROWDED_KERNEL(threads, blocks) static void
#define ARGUMENT const
// The richest chip: what others lack is tested by its own names.
#define __CUDA_ARCH__ 900

// ---- blocks, threads, meetings
struct EmuDim { int x, y, z; };
struct EmuMeeting { int here = 0, round = 0; };
struct EmuBarrier { int arrivals = 0, pending = 0; long bytes = 0; int phase = 0; };
struct EmuBlock {
    std::vector<u8> memory;
    u8* shared = nullptr;   // address 1024 of the shared window, itself a multiple of 1024
    EmuDim index{};
    int rank = 0, threads = 0;
    EmuMeeting all, warps[32], groups[8], named[16];
    std::map<u32, EmuBarrier> barriers;
    size_t bytes() const { return memory.size() - (size_t)(shared - memory.data()); }
};
struct EmuThread {
    ucontext_t start;
    jmp_buf at;
    std::unique_ptr<char[]> stack;
    EmuBlock* block = nullptr;
    int index = 0, cluster_round = 0;
    bool started = false, done = false;
    u64 lane[8];   // what a lane shows to its warp
};
struct Emu {
    std::vector<std::unique_ptr<EmuThread>> threads;
    std::vector<EmuBlock> blocks;   // of the cluster that runs
    EmuDim grid{}, block{};
    EmuThread* current = nullptr;
    jmp_buf scheduler;
    std::function<void()> body;
    EmuMeeting cluster;
    std::vector<float> a, b;        // matrices of warpgroups, as numbers
};
inline Emu& emu() { static Emu e; return e; }
inline EmuThread& emu_self() { return *emu().current; }
[[noreturn]] inline void die(const char* what) {
    EmuThread& t = emu_self();
    printf("emulator: %s (block %d %d %d, thread %d)\n", what, t.block->index.x, t.block->index.y, t.block->index.z, t.index);
    exit(9);
}
inline void emu_yield() { if (!_setjmp(emu_self().at)) _longjmp(emu().scheduler, 1); }
template <class Until> void emu_wait(Until until, const char* what) {
    for (long spins = 0; !until(); ++spins) { if (spins > 1000000) die(what); emu_yield(); }
}
inline void emu_arrive(EmuMeeting& m, int count) { if (++m.here == count) { m.here = 0; ++m.round; } }
inline void emu_meet(EmuMeeting& m, int count) {
    int round = m.round;
    emu_arrive(m, count);
    emu_wait([&] { return m.round != round; }, "stuck in a meeting of threads");
}
inline int emu_lane() { return emu_self().index & 31; }
inline EmuThread& emu_neighbour(int lane) {
    EmuThread& t = emu_self();
    size_t first = (size_t)(t.block - emu().blocks.data()) * t.block->threads + (t.index & ~31);
    return *emu().threads[first + lane];
}
inline void emu_meet_warp() { emu_meet(emu_self().block->warps[emu_self().index / 32], 32); }
inline void emu_meet_group() { emu_meet(emu_self().block->groups[emu_self().index / 128], 128); }
inline void __syncthreads() { emu_meet(emu_self().block->all, emu_self().block->threads); }
inline void __syncwarp() { emu_meet_warp(); }
template <class T> T __shfl_xor_sync(u32, T v, int other) {
    static_assert(sizeof v <= 8, "a lane shows at most 8 bytes");
    memcpy(emu_self().lane, &v, sizeof v);
    emu_meet_warp();
    T r;
    memcpy(&r, emu_neighbour(emu_lane() ^ other).lane, sizeof r);
    emu_meet_warp();
    return r;
}
struct EmuIndex {
    struct Thread { operator int() const { return emu_self().index; } } x;
};
struct EmuBlockIndex {
    struct X { operator int() const { return emu_self().block->index.x; } } x;
    struct Y { operator int() const { return emu_self().block->index.y; } } y;
    struct Z { operator int() const { return emu_self().block->index.z; } } z;
};
struct EmuGridSize {
    struct X { operator int() const { return emu().grid.x; } } x;
    struct Y { operator int() const { return emu().grid.y; } } y;
    struct Z { operator int() const { return emu().grid.z; } } z;
};
struct EmuBlockSize { struct X { operator int() const { return emu().block.x; } } x; };
static const EmuIndex threadIdx;
static const EmuBlockIndex blockIdx;
static const EmuGridSize gridDim;
static const EmuBlockSize blockDim;
inline void wait_before() {}
inline void let_next_start() {}

inline void emu_thread() { emu().body(); emu_self().done = true; _longjmp(emu().scheduler, 1); }
inline void emu_resume(EmuThread& t) {
    emu().current = &t;
    if (_setjmp(emu().scheduler)) return;
    if (t.started) _longjmp(t.at, 1);
    t.started = true;
    setcontext(&t.start);
}
inline void emu_prepare(int cluster, int threads, int shared_bytes, int x, int y, int z) {
    const size_t stack = 128 << 10;
    Emu& e = emu();
    e.blocks.assign(cluster, {});
    e.cluster = {};
    while (e.threads.size() < (size_t)cluster * threads) { e.threads.emplace_back(new EmuThread); e.threads.back()->stack.reset(new char[stack]); }
    for (int c = 0; c < cluster; ++c) {
        EmuBlock& b = e.blocks[c];
        b.memory.assign(shared_bytes + 1024, 0xff);   // not a number in every format
        b.shared = b.memory.data() + (1024 - (uintptr_t)b.memory.data() % 1024) % 1024;
        b.index = {x + c, y, z}; b.rank = c; b.threads = threads;
        for (int i = 0; i < threads; ++i) {
            EmuThread& t = *e.threads[c * threads + i];
            t.block = &b; t.index = i; t.started = t.done = false; t.cluster_round = 0;
            getcontext(&t.start);
            t.start.uc_stack.ss_sp = t.stack.get(); t.start.uc_stack.ss_size = stack; t.start.uc_link = nullptr;
            makecontext(&t.start, emu_thread, 0);
        }
    }
}
// Runs a kernel: `body` calls it. The blocks of a cluster (along x) run together, clusters one after another.
inline void emu_launch(EmuDim grid, int threads, int shared_bytes, int cluster, const std::function<void()>& body) {
    Emu& e = emu();
    e.grid = grid; e.block = {threads, 1, 1}; e.body = body;
    for (int z = 0; z < grid.z; ++z) for (int y = 0; y < grid.y; ++y) for (int x = 0; x < grid.x; x += cluster) {
        emu_prepare(cluster, threads, shared_bytes, x, y, z);
        for (bool any = true; any;) {
            any = false;
            for (int i = 0; i < cluster * threads; ++i) if (!e.threads[i]->done) { any = true; emu_resume(*e.threads[i]); }
        }
    }
}

// ---- numbers
inline float emu_half(h16 h) {
    u32 sign = h >> 15, e = h >> 10 & 31, m = h & 1023;
    float v = e == 0 ? ldexpf((float)m, -24) : e == 31 ? (m ? NAN : INFINITY) : ldexpf((float)(m + 1024), (int)e - 25);
    return sign ? -v : v;
}
inline float to_float(h16 h) {
    static const std::vector<float> all = [] { std::vector<float> v(65536); for (u32 i = 0; i < 65536; ++i) v[i] = emu_half((h16)i); return v; }();
    return all[h];
}
inline h16 to_half(float f) {
    u32 bits;
    memcpy(&bits, &f, 4);
    h16 sign = (h16)(bits >> 16 & 0x8000);
    float size = fabsf(f);
    if (size != size) return sign | 0x7e00;
    if (size >= 65520.f) return sign | 0x7c00;
    if (size < 6.103515625e-05f) return sign | (h16)nearbyintf(size * 16777216.f);
    u32 magnitude = bits & 0x7fffffff, odd = magnitude >> 13 & 1;
    return sign | (h16)((magnitude - (112u << 23) + 0xfff + odd) >> 13);
}
inline u32 pack(float low, float high) { return to_half(low) | (u32)to_half(high) << 16; }
inline float fast_exp2(float x) { return exp2f(x); }
inline float fast_reciprocal(float x) { return 1.f / x; }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline int __float_as_int(float f) { int i; memcpy(&i, &f, 4); return i; }
inline float __int_as_float(int i) { float f; memcpy(&f, &i, 4); return f; }
inline int __float2int_rn(float f) { return (int)lrintf(f); }
inline void widen(u32 bytes, u32& a, u32& b) {
    auto byte = [&](int i) { return (float)(signed char)(bytes >> (8 * i)); };
    a = pack(byte(0), byte(1)); b = pack(byte(2), byte(3));
}
inline void widen_unsigned(u32 bytes, u32& a, u32& b) {
    auto byte = [&](int i) { return (float)(u8)(bytes >> (8 * i)); };
    a = pack(byte(0), byte(1)); b = pack(byte(2), byte(3));
}
inline u32 times(u32 a, u32 b) { return pack(to_float((h16)a) * to_float((h16)b), to_float((h16)(a >> 16)) * to_float((h16)(b >> 16))); }
inline uint4 load_once(const void* p) { if ((u64)p % 16) die("a load of 16 bytes is not aligned"); uint4 v; memcpy(&v, p, 16); return v; }
inline float load_fresh(const float* p) { return *p; }
inline void prefetch(const void*) {}

// ---- shared memory
inline u32 shared_address(const void* p) {
    long at = (const u8*)p - emu_self().block->shared;
    if (at < 0 || at > (long)emu_self().block->bytes()) die("not an address in dynamic shared memory");
    return (u32)at + 1024;
}
inline u8* emu_at(u32 a, u32 bytes, EmuBlock& block) {
    if (a < 1024 || a - 1024 + bytes > block.bytes()) die("a shared address out of range");
    return block.shared + (a - 1024);
}
inline u8* emu_at(u32 a, u32 bytes) { return emu_at(a, bytes, *emu_self().block); }
inline void copy16_or_zero(u32 to, const void* from, bool there) {
    if (to % 16 || (u64)from % 16) die("a copy of 16 bytes is not aligned");
    if (there) memcpy(emu_at(to, 16), from, 16); else memset(emu_at(to, 16), 0, 16);
}
inline void copy16(u32 to, const void* from) { copy16_or_zero(to, from, true); }
inline void copy_commit() {}
template <int LEFT> void copy_wait() {}
inline void emu_ldmatrix(u32* r, u32 a, int count, bool transposed) {
    int l = emu_lane();
    if (a % 16) die("a row of ldmatrix is not aligned");
    emu_self().lane[0] = a;
    emu_meet_warp();
    for (int i = 0; i < count; ++i) {
        h16 v[2];
        for (int j = 0; j < 2; ++j) {
            int row = transposed ? (l & 3) * 2 + j : l / 4, column = transposed ? l / 4 : (l & 3) * 2 + j;
            memcpy(&v[j], emu_at((u32)emu_neighbour(i * 8 + row).lane[0], 16) + column * 2, 2);
        }
        r[i] = v[0] | (u32)v[1] << 16;
    }
    emu_meet_warp();
}
inline void ldmatrix4(u32 (&r)[4], u32 a) { emu_ldmatrix(r, a, 4, false); }
inline void ldmatrix4_transposed(u32 (&r)[4], u32 a) { emu_ldmatrix(r, a, 4, true); }
inline void ldmatrix2(u32 (&r)[2], u32 a) { emu_ldmatrix(r, a, 2, false); }
inline void stmatrix4(u32 a, u32 r0, u32 r1, u32 r2, u32 r3) {
    int l = emu_lane();
    u32 r[4] = {r0, r1, r2, r3};
    emu_self().lane[0] = a;
    emu_meet_warp();
    for (int i = 0; i < 4; ++i) memcpy(emu_at((u32)emu_neighbour(i * 8 + l / 4).lane[0], 16) + (l & 3) * 4, &r[i], 4);
    emu_meet_warp();
}
// The operands of a warp's product, as numbers; every lane brings what it holds of them.
struct EmuTiles { float a[16][16], b[8][16]; };
inline EmuTiles& emu_tiles() {
    static std::vector<EmuTiles> all(16 * 32);
    EmuThread& t = emu_self();
    return all[(size_t)(t.block - emu().blocks.data()) * 32 + t.index / 32];
}
inline void mma(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    EmuTiles& m = emu_tiles();
    int l = emu_lane(), row = l / 4, pair = (l & 3) * 2;
    u32 a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
    for (int i = 0; i < 8; ++i) m.a[row + (i >> 1 & 1) * 8][(i >> 2) * 8 + pair + (i & 1)] = to_float((h16)(i & 1 ? a[i >> 1] >> 16 : a[i >> 1]));
    for (int i = 0; i < 4; ++i) m.b[row][(i >> 1) * 8 + pair + (i & 1)] = to_float((h16)(i & 1 ? b[i >> 1] >> 16 : b[i >> 1]));
    emu_meet_warp();
    for (int i = 0; i < 4; ++i) {
        const float *x = m.a[row + (i >> 1) * 8], *y = m.b[pair + (i & 1)];
        for (int k = 0; k < 16; ++k) c[i] += x[k] * y[k];
    }
    emu_meet_warp();
}

// ---- Hopper
struct alignas(64) TensorMap { const u8* data; int size, dims; u64 d[3], stride[2]; int box_x, box_y; };
inline EmuBarrier& emu_barrier(u32 b) {
    auto found = emu_self().block->barriers.find(b);
    if (found == emu_self().block->barriers.end()) die("a barrier that nobody initialised");
    return found->second;
}
inline void emu_check(EmuBarrier& b) { if (b.pending == 0 && b.bytes == 0) { b.phase ^= 1; b.pending = b.arrivals; } }
inline void barrier_init(u32 b, u32 arrivals) { if (b % 8) die("a barrier is not aligned"); emu_at(b, 8); emu_self().block->barriers[b] = {(int)arrivals, (int)arrivals, 0, 0}; }
inline void barrier_fence() {}
inline void barrier_arrive(u32 at) { EmuBarrier& b = emu_barrier(at); if (b.pending-- <= 0) die("too many arrivals at a barrier"); emu_check(b); }
inline void barrier_expect(u32 at, u32 bytes) { emu_barrier(at).bytes += bytes; barrier_arrive(at); }
inline void barrier_wait(u32 at, u32 parity) { emu_wait([&] { return emu_barrier(at).phase != (int)parity; }, "stuck at a barrier"); }
inline u32 emu_swizzle(u32 a) { return a ^ ((a >> 7 & 7) << 4); }
// Every number of a box: its shared address, and its place in the tensor or null.
template <class F> void emu_box(u32 at, const TensorMap* m, int x, int y, int z, F f) {
    if (at % 1024) die("a tensor tile does not start at a multiple of 1024");
    if (m->box_x * m->size != 128) die("a box is not as wide as the swizzle");
    for (int j = 0; j < m->box_y; ++j) for (int i = 0; i < m->box_x; ++i) {
        bool in = x + i >= 0 && (u64)(x + i) < m->d[0] && (u64)(y + j) < m->d[1] && (u64)z < m->d[2];
        u64 place = (u64)(x + i) + (u64)(y + j) * m->stride[0] + (u64)z * m->stride[1];
        f(emu_at(emu_swizzle(at + j * 128 + i * m->size), m->size), in ? (u8*)m->data + place * m->size : nullptr);
    }
}
inline void tile_copy(u32 to, const TensorMap* m, int x, int y, int z, u32 bar) {
    emu_box(to, m, x, y, z, [&](u8* shared, const u8* global) { if (global) memcpy(shared, global, m->size); else memset(shared, 0, m->size); });
    EmuBarrier& b = emu_barrier(bar);
    b.bytes -= m->box_y * 128l;
    emu_check(b);
}
inline void tile_copy(u32 to, const TensorMap* m, int x, int y, u32 bar) { tile_copy(to, m, x, y, 0, bar); }
inline void tile_store(const TensorMap* m, int x, int y, int z, u32 from) {
    emu_box(from, m, x, y, z, [&](u8* shared, u8* global) { if (global) memcpy(global, shared, m->size); });
}
inline void bulk_copy(u32 to, const void* from, u32 bytes, u32 bar) {
    if (to % 16 || bytes % 16 || (u64)from % 16) die("a bulk copy is not aligned");
    memcpy(emu_at(to, bytes), from, bytes);
    EmuBarrier& b = emu_barrier(bar);
    b.bytes -= bytes;
    emu_check(b);
}
inline void store_commit() {}
template <int LEFT> void store_wait_read() {}
template <int LEFT> void store_wait() {}
inline void proxy_fence() {}
inline u32 cluster_rank() { return emu_self().block->rank; }
inline void cluster_sync() { emu_meet(emu().cluster, (int)emu().blocks.size() * emu_self().block->threads); }
inline float4 load_cluster(u32 a, u32 rank) { float4 v; memcpy(&v, emu_at(a, 16, emu().blocks[rank]), 16); return v; }
inline void group_sync(int id, int threads) { emu_meet(emu_self().block->named[id], threads); }
inline void group_arrive(int id, int threads) { emu_arrive(emu_self().block->named[id], threads); }
template <int N> void take_registers() {}
template <int N> void give_registers() {}
inline void wgmma_fence() {}
inline void wgmma_commit() {}
template <int LEFT> void wgmma_wait() {}
inline float emu_e4m3(u8 b) {
    int e = b >> 3 & 15, m = b & 7;
    float v = e == 0 ? ldexpf((float)m, -9) : (b & 127) == 127 ? NAN : ldexpf((float)(m + 8), e - 10);
    return b & 128 ? -v : v;
}
inline u8 emu_to_e4m3(float f) {
    u8 sign = f < 0 ? 128 : 0;
    float size = fminf(fabsf(f), 448.f);
    if (f != f) return 127;
    if (size < ldexpf(1, -6)) return sign | (u8)nearbyintf(size * 512.f);
    int e;
    frexpf(size, &e);
    float m = nearbyintf(ldexpf(size, 4 - e));   // 8 to 16
    if (m == 16) { m = 8; ++e; }
    return sign | (u8)((e + 6) << 3 | ((int)m - 8));
}
inline h16 pack_e4m3(float low, float high) { return (h16)(emu_to_e4m3(low) | emu_to_e4m3(high) << 8); }
inline float emu_shared_half(u32 a) { h16 h; memcpy(&h, emu_at(emu_swizzle(a), 2), 2); return to_float(h); }
inline u32 emu_tile_start(u64 descriptor) { return (u32)(descriptor & 0x3fff) << 4; }
// Where a warpgroup keeps its matrices as numbers.
inline float* emu_matrix(std::vector<float>& all, int numbers) {
    EmuThread& t = emu_self();
    if (all.size() < 8 * 16 * 8192) all.resize(8 * 16 * 8192);
    return all.data() + ((t.block - emu().blocks.data()) * 8 + t.index / 128) * (size_t)numbers;
}
// Rows of 128 bytes along the outer dimension: number (row, k). Of eight-bit floats a product takes 32.
template <int DEEP> void emu_fill(float* to, u64 descriptor, int rows) {
    for (int i = emu_self().index & 127; i < rows * DEEP; i += 128) {
        int r = i / DEEP, k = i % DEEP;
        u32 row = emu_tile_start(descriptor) + r / 8 * 1024 + r % 8 * 128;
        to[i] = DEEP == 16 ? emu_shared_half(row + k * 2) : emu_e4m3(*emu_at(emu_swizzle(row + k), 1));
    }
}
template <int DEEP, int N> void emu_product(float (&d)[N], const float* a, const float* b, int add) {
    int t = emu_self().index & 127, warp = t / 32, l = t & 31;
    for (int j = 0; j < N / 4; ++j) for (int i = 0; i < 4; ++i) {
        int row = warp * 16 + l / 4 + (i >> 1) * 8, n = j * 8 + (l & 3) * 2 + (i & 1);
        float s = add ? d[4 * j + i] : 0.f;
        for (int k = 0; k < DEEP; ++k) s += a[row * DEEP + k] * b[n * DEEP + k];
        d[4 * j + i] = s;
    }
    emu_meet_group();
}
template <int DEEP, int N> void emu_wgmma(float (&d)[N], u64 a, u64 b, int add) {
    float *ma = emu_matrix(emu().a, 2048), *mb = emu_matrix(emu().b, 8192);
    emu_fill<DEEP>(ma, a, 64);
    emu_fill<DEEP>(mb, b, N * 2);
    emu_meet_group();
    emu_product<DEEP>(d, ma, mb, add);
}
template <int N> void wgmma(float (&d)[N], u64 a, u64 b, int add) { emu_wgmma<16>(d, a, b, add); }
template <int N> void wgmma_e4m3(float (&d)[N], u64 a, u64 b, int add) { emu_wgmma<32>(d, a, b, add); }
// The first operand in registers; the second's rows lie along K.
inline void wgmma_registers(float (&d)[32], u32 a0, u32 a1, u32 a2, u32 a3, u64 b, int add) {
    float *ma = emu_matrix(emu().a, 2048), *mb = emu_matrix(emu().b, 8192);
    int t = emu_self().index & 127, l = t & 31;
    u32 v[4] = {a0, a1, a2, a3};
    for (int i = 0; i < 8; ++i) {
        int row = t / 32 * 16 + l / 4 + (i >> 1 & 1) * 8, k = (i >> 2) * 8 + (l & 3) * 2 + (i & 1);
        ma[row * 16 + k] = to_float((h16)(i & 1 ? v[i >> 1] >> 16 : v[i >> 1]));
    }
    for (int i = t; i < 64 * 16; i += 128) { int n = i / 16, k = i % 16; mb[i] = emu_shared_half(emu_tile_start(b) + k * 128 + n * 2); }
    emu_meet_group();
    emu_product<16>(d, ma, mb, add);
}
