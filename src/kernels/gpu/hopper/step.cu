// The decoder's linear layers for many rows on Hopper: the weights are the 64 rows of the tensor core's tile, the step's rows
// its columns. The blocks of a cluster share K (split-K) and add up through each other's shared memory, always in one order.
#pragma once
#include "tma.h"
#include "../step.h"

// Map: x (B, K) in boxes of 64 by ROWS, swizzled by 128 bytes. A block has a tile of 64 outputs and p.share blocks of 64
// columns, whose weights lie together and are asked for before the kernel in front has ended. KEPT: they stay in shared
// memory, all of them; else (logits) they share the ring with the rows.
template <int ROWS, int STAGES, int SPLIT, int WHAT, bool RESIDENT> struct Mid {
    static const int STAGE = (RESIDENT ? 0 : 8192) + ROWS * 128, PITCH = 68;
    const TensorMap* x;
    const StepGemm& p;
    u32 base, ring, full, empty, weights_full;
    float* tile;              // (ROWS, 64) sums in rows of PITCH; they take the place of the weights
    int warp, lane, rank, n0, first, blocks;

    METHOD Mid(const TensorMap* x, const StepGemm& p, u8* raw) : x(x), p(p) {
        base = (shared_address(raw) + 1023) & ~1023u;
        ring = base + (RESIDENT ? p.share * 8192 : 0);
        full = ring + STAGES * STAGE; empty = full + 8 * STAGES; weights_full = empty + 8 * STAGES;
        tile = (float*)(raw + (base - shared_address(raw)));
        warp = threadIdx.x / 32; lane = threadIdx.x & 31;
        rank = SPLIT > 1 ? (int)cluster_rank() : 0;
        n0 = blockIdx.y * 64; first = rank * p.share;
        blocks = max(0, min(p.share, p.K / 64 - first));
    }
    METHOD void init() const {
        if (threadIdx.x == 0) {
            for (int s = 0; s < STAGES; ++s) { barrier_init(full + 8 * s, 1); barrier_init(empty + 8 * s, 1); }
            if (RESIDENT) for (int i = 0; i < p.share; ++i) barrier_init(weights_full + 8 * i, 1);
            barrier_fence();
        }
        __syncthreads();
    }
    METHOD void produce() const {
        const h16* weights = p.weights + ((long long)blockIdx.y * (p.K / 64) + first) * 4096;
        auto ask = [&](int i, u32 to, u32 bar, int bytes) { barrier_expect(bar, bytes); bulk_copy(to, weights + i * 4096, 8192, bar); };
        if (RESIDENT) for (int i = 0; i < blocks; ++i) ask(i, base + i * 8192, weights_full + 8 * i, 8192);
        else for (int i = 0; i < min(STAGES, blocks); ++i) ask(i, ring + i * STAGE, full + 8 * i, STAGE);
        wait_before();
        for (int i = 0; i < blocks; ++i) {
            int s = i % STAGES;
            u32 at = ring + s * STAGE, bar = full + 8 * s;
            if (i >= STAGES) barrier_wait(empty + 8 * s, (i / STAGES & 1) ^ 1);
            if (RESIDENT) barrier_expect(bar, STAGE);
            else if (i >= STAGES) ask(i, at, bar, STAGE);
            tile_copy(at + (RESIDENT ? 0 : 8192), x, (first + i) * 64, 0, bar);
        }
    }
    METHOD void multiply(float (&d)[ROWS / 2]) const {
        for (int i = 0; i < blocks; ++i) {
            int s = i % STAGES;
            u32 at = ring + s * STAGE;
            if (RESIDENT) barrier_wait(weights_full + 8 * i, 0);
            barrier_wait(full + 8 * s, i / STAGES & 1);
            u64 a = descriptor(RESIDENT ? base + i * 8192 : at), b = descriptor(at + (RESIDENT ? 0 : 8192));
            wgmma_fence();
#pragma unroll
            for (int k = 0; k < 4; ++k) wgmma(d, a + 2 * k, b + 2 * k, i | k);
            wgmma_commit();
            wgmma_wait<1>();
            if (i > 0 && threadIdx.x == 0) barrier_arrive(empty + 8 * ((i - 1) % STAGES));
        }
        wgmma_wait<0>();
    }
    METHOD void hand_in(const float (&d)[ROWS / 2]) const {
#pragma unroll
        for (int j = 0; j < ROWS / 8; ++j) {
            float* r = tile + (j * 8 + (lane & 3) * 2) * PITCH + warp * 16 + lane / 4;
            r[0] = d[4 * j]; r[PITCH] = d[4 * j + 1]; r[8] = d[4 * j + 2]; r[PITCH + 8] = d[4 * j + 3];
        }
    }
    // Four neighbouring outputs of a row, from all blocks of the cluster.
    METHOD float4 add_up(int b, int m) const {
        if (SPLIT == 1) return *(const float4*)(tile + b * PITCH + m);
        u32 at = shared_address(tile + b * PITCH + m);
        float4 v = make_float4(0, 0, 0, 0);
#pragma unroll
        for (int c = 0; c < SPLIT; ++c) { float4 a = load_cluster(at, c); v.x += a.x; v.y += a.y; v.z += a.z; v.w += a.w; }
        return v;
    }
    METHOD void put4(int b, int n, float4 v) const {
        if (WHAT == LOGITS) {
            float each[4] = {v.x, v.y, v.z, v.w};
            for (int i = 0; i < 4; ++i) if (n + i < p.N) p.out32[(long long)b * p.N + n + i] = each[i];
            return;
        }
        if (WHAT == RESIDUAL) {
            float4* at = (float4*)(p.out32 + (long long)b * p.N + n);
            float4 old = *at;
            *at = make_float4(old.x + v.x, old.y + v.y, old.z + v.z, old.w + v.w);
            return;
        }
        if (WHAT == GELU) v = make_float4(gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w));
        h16* to = p.out + (long long)b * (WHAT == QKV ? p.D : p.N) + n;
        if (WHAT == QKV && n >= p.D) {
            int store = p.rows[b].store, c = n < 2 * p.D ? n - p.D : n - 2 * p.D;
            if (store < 0) return;
            to = (n < 2 * p.D ? p.keys : p.values) + cache_at(store, c / 64, p.D / 64) + c % 64;
        }
        *(uint2*)to = make_uint2(pack(v.x, v.y), pack(v.z, v.w));
    }
    // The cluster's blocks deal the rows among them.
    METHOD void store(float4 bias) const {
        int m = threadIdx.x % 16 * 4, n = n0 + m;
        if (n >= p.N) return;
        for (int i = threadIdx.x / 16; i * SPLIT + rank < min(p.B, ROWS); i += 8) {
            int b = i * SPLIT + rank;
            float4 v = add_up(b, m);
            put4(b, n, make_float4(v.x + bias.x, v.y + bias.y, v.z + bias.z, v.w + bias.w));
        }
    }
};

template <int ROWS, int STAGES, int SPLIT, int WHAT, bool RESIDENT> DEV void mid_gemm(const TensorMap* x, const StepGemm& p) {
    DYNAMIC(raw);
    Mid<ROWS, STAGES, SPLIT, WHAT, RESIDENT> mid(x, p, raw);
    mid.init();
    let_next_start();
    float4 bias = make_float4(0, 0, 0, 0);
    int n = mid.n0 + threadIdx.x % 16 * 4;
    if (WHAT != LOGITS && p.bias && mid.warp < 4 && n < p.N) bias = *(const float4*)(p.bias + n);
    if (mid.warp == 4) {
        if (mid.lane == 0) mid.produce();
        __syncwarp();
        __syncthreads();
    } else {
        float d[ROWS / 2];
#pragma unroll
        for (int i = 0; i < ROWS / 2; ++i) d[i] = 0;
        wait_before();
        mid.multiply(d);
        group_sync(1, 128);   // everybody has read the weights
        mid.hand_in(d);
        __syncthreads();
    }
    if (SPLIT > 1) cluster_sync();
    if (mid.warp < 4) mid.store(bias);
    if (SPLIT > 1) cluster_sync();   // nobody leaves while others read its sums
}
#define MID_GEMM(name, ROWS, STAGES, SPLIT, WHAT, RESIDENT) \
    KERNEL(160) name(ARGUMENT TensorMap x, ARGUMENT StepGemm p) { mid_gemm<ROWS, STAGES, SPLIT, WHAT, RESIDENT>(&x, p); }
#define MID_GEMMS(ROWS, STAGES, LOGIT_STAGES) \
    MID_GEMM(mid_##ROWS##_qkv, ROWS, STAGES, 2, QKV, true) \
    MID_GEMM(mid_##ROWS##_half, ROWS, STAGES, 5, HALF, true) \
    MID_GEMM(mid_##ROWS##_gelu, ROWS, STAGES, 2, GELU, true) \
    MID_GEMM(mid_##ROWS##_residual, ROWS, STAGES, 5, RESIDUAL, true) \
    MID_GEMM(mid_##ROWS##_logits, ROWS, LOGIT_STAGES, 1, LOGITS, false)
MID_GEMMS(16, 8, 8)
MID_GEMMS(32, 8, 8)
MID_GEMMS(64, 4, 6)
MID_GEMMS(128, 4, 4)
MID_GEMMS(256, 3, 3)
