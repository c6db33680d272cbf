// The encoder's matrix products on Hopper: one warpgroup asks the copy engine for tiles, two multiply 64 rows each, and every
// warp finishes its 16 rows through 4 kB of its own, by tensor copies in both directions.
#pragma once
#include "tma.h"

// Maps: a (windows, rows, K) in boxes of 64 by 128, w (N, K) in boxes of 64 by 128, out and residual (windows, rows, N) in
// boxes of 64 by 16; all swizzled by 128 bytes. A block takes tiles of 128 rows by BN outputs. NARROW: a and w are eight-bit
// floats in boxes of 128 columns, with a scale a row each; a is one window.
struct EncTiles {
    const float *bias, *a_scales, *w_scales;
    int tiles_m, windows, tiles_n, blocks;   // tiles_m: of a window; blocks: of 128 bytes of columns
};
template <int BN, int STAGES, bool ACTIVATE, bool ADD, bool NARROW> struct EncWork {
    static const int A = 128 * 128, STAGE = A + BN * 128, OWN = 4096, BYTES = 1024 + STAGES * STAGE + 8 * OWN + 256, WIDE = NARROW ? 128 : 64;
    const TensorMap *a, *w, *out, *residual;
    const EncTiles& p;
    u32 base, own, full, empty, arrived;   // arrived: of the residual, two a warp
    int lane, n, y, z;                     // tile: first output, first row of this block or warp, window

    METHOD EncWork(const TensorMap* a, const TensorMap* w, const TensorMap* out, const TensorMap* residual, const EncTiles& p, u8* raw) : a(a), w(w), out(out), residual(residual), p(p) {
        base = (shared_address(raw) + 1023) & ~1023u;
        own = base + STAGES * STAGE;
        full = own + 8 * OWN; empty = full + 8 * STAGES; arrived = empty + 8 * STAGES;
        lane = threadIdx.x & 31;
    }
    METHOD void init() const {
        if (threadIdx.x == 0) {
            for (int s = 0; s < STAGES; ++s) { barrier_init(full + 8 * s, 1); barrier_init(empty + 8 * s, 2); }
            for (int s = 0; s < 16; ++s) barrier_init(arrived + 8 * s, 1);
            barrier_fence();
        }
        __syncthreads();
    }
    METHOD int tiles() const { return p.tiles_m * p.windows * p.tiles_n; }
    // Eight rows of tiles are taken together, so that what they read stays in the second-level cache.
    METHOD void take(int t) {
        int all = p.tiles_m * p.windows, group = t / (8 * p.tiles_n), rows = min(8, all - group * 8), r = t % (8 * p.tiles_n);
        int m = group * 8 + r % rows;
        n = r / rows * BN; z = m / p.tiles_m; y = m % p.tiles_m * 128;
    }
    METHOD void produce() {
        int it = 0;
        for (int t = blockIdx.x; t < tiles(); t += gridDim.x) {
            take(t);
            for (int k = 0; k < p.blocks; ++k, ++it) {
                int s = it % STAGES;
                u32 at = base + s * STAGE, bar = full + 8 * s;
                barrier_wait(empty + 8 * s, (it / STAGES & 1) ^ 1);
                barrier_expect(bar, STAGE);
                tile_copy(at, a, k * WIDE, y, z, bar);
                for (int h = 0; h < BN; h += 128) tile_copy(at + A + h * 128, w, k * WIDE, n + h, bar);
            }
        }
    }
    METHOD void multiply(int& it, int half, float (&d)[BN / 2]) {
        for (int k = 0; k < p.blocks; ++k, ++it) {
            int s = it % STAGES;
            u32 at = base + s * STAGE;
            barrier_wait(full + 8 * s, it / STAGES & 1);
            u64 da = descriptor(at + half * 8192), db = descriptor(at + A);
            wgmma_fence();
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (NARROW) wgmma_e4m3(d, da + 2 * i, db + 2 * i, k | i);
                else wgmma(d, da + 2 * i, db + 2 * i, k | i);
            }
            wgmma_commit();
            wgmma_wait<1>();
            if (k > 0 && (threadIdx.x & 127) == 0) barrier_arrive(empty + 8 * ((it - 1) % STAGES));
        }
        wgmma_wait<0>();
        if ((threadIdx.x & 127) == 0) barrier_arrive(empty + 8 * ((it - 1) % STAGES));
    }
    METHOD void ask_residual(int c, u32 buffer, u32 bar) const {
        barrier_expect(bar, 2048);
        tile_copy(buffer, residual, n + c * 64, y, z, bar);
    }
    // 16 columns of a warp's 16 rows: a lane has 8 results, in four matrices of 8 by 8.
    METHOD void finish(float* v, int first, u32 at, float upper, float lower) const {
        if (NARROW) {
            const float* s = p.w_scales + first + (lane & 3) * 2;
            v[0] *= upper * s[0]; v[1] *= upper * s[1]; v[2] *= lower * s[0]; v[3] *= lower * s[1];
            v[4] *= upper * s[8]; v[5] *= upper * s[9]; v[6] *= lower * s[8]; v[7] *= lower * s[9];
        }
        if (p.bias) {
            const float* b = p.bias + first + (lane & 3) * 2;
            float b0 = b[0], b1 = b[1], b2 = b[8], b3 = b[9];
            v[0] += b0; v[1] += b1; v[2] += b0; v[3] += b1; v[4] += b2; v[5] += b3; v[6] += b2; v[7] += b3;
        }
        if (ACTIVATE) {
#pragma unroll
            for (int i = 0; i < 8; ++i) v[i] = gelu(v[i]);
        }
        if (ADD) {
            u32 x[4];
            ldmatrix4(x, at);
#pragma unroll
            for (int i = 0; i < 4; ++i) { v[2 * i] += low(x[i]); v[2 * i + 1] += high(x[i]); }
        }
        stmatrix4(at, pack(v[0], v[1]), pack(v[2], v[3]), pack(v[4], v[5]), pack(v[6], v[7]));
    }
    // 64 columns at a time, in two buffers by turns.
    METHOD void store(float (&d)[BN / 2], u32 mine, u32 bars, u32 (&phase)[2]) const {
        int matrix = lane / 8, row = (matrix & 1) * 8 + (lane & 7);
        // Of a lane's two rows; there is memory for those of a tile that lie behind the last.
        float upper = NARROW ? p.a_scales[y + lane / 4] : 1.f, lower = NARROW ? p.a_scales[y + lane / 4 + 8] : 1.f;
#pragma unroll
        for (int c = 0; c < BN / 64; ++c) {
            u32 buffer = mine + (c & 1) * 2048, bar = bars + 8 * (c & 1);
            if (ADD) { barrier_wait(bar, phase[c & 1]); phase[c & 1] ^= 1; }
            else { if (lane == 0) store_wait_read<1>(); __syncwarp(); }
#pragma unroll
            for (int q = 0; q < 4; ++q) finish(&d[c * 32 + q * 8], n + c * 64 + q * 16, buffer + row * 128 + (((2 * q + (matrix >> 1)) ^ (row & 7)) << 4), upper, lower);
            proxy_fence();
            __syncwarp();
            if (lane > 0) continue;
            tile_store(out, n + c * 64, y, z, buffer);
            store_commit();
            if (ADD && c + 2 < BN / 64) { store_wait_read<0>(); ask_residual(c + 2, buffer, bar); }
        }
    }
    METHOD void consume(int half) {
        int warp = threadIdx.x / 32 - 4, it = 0;
        u32 mine = own + warp * OWN, bars = arrived + 16 * warp, phase[2] = {0, 0};
        for (int t = blockIdx.x; t < tiles(); t += gridDim.x) {
            take(t);
            y += half * 64 + (warp & 3) * 16;
            if (ADD && lane == 0) { store_wait_read<0>(); for (int c = 0; c < 2; ++c) ask_residual(c, mine + c * 2048, bars + 8 * c); }
            if (p.bias && (threadIdx.x & 127) < BN / 32) prefetch(p.bias + n + (threadIdx.x & 127) * 32);
            float d[BN / 2];
            multiply(it, half, d);
            store(d, mine, bars, phase);
        }
        if (lane == 0) store_wait<0>();
    }
};

template <int BN, int STAGES, bool ACTIVATE, bool ADD, bool NARROW>
DEV void enc_tiles(const TensorMap* a, const TensorMap* w, const TensorMap* out, const TensorMap* residual, const EncTiles& p) {
    DYNAMIC(raw);
    EncWork<BN, STAGES, ACTIVATE, ADD, NARROW> work(a, w, out, residual, p, raw);
    work.init();
    let_next_start();
    wait_before();
    int group = threadIdx.x / 128;
    if (group == 0) {
        give_registers<40>();
        if (threadIdx.x == 0) work.produce();
        __syncwarp();
    } else {
        take_registers<232>();
        work.consume(group - 1);
    }
}
#define ENC_TILES(name, BN, STAGES, ACTIVATE, ADD, NARROW) \
    KERNEL(384) name(ARGUMENT TensorMap a, ARGUMENT TensorMap w, ARGUMENT TensorMap out, ARGUMENT TensorMap residual, ARGUMENT EncTiles p) { enc_tiles<BN, STAGES, ACTIVATE, ADD, NARROW>(&a, &w, &out, &residual, p); }
ENC_TILES(enc_tiles_256_plain, 256, 4, false, false, false)
ENC_TILES(enc_tiles_256_gelu, 256, 4, true, false, false)
ENC_TILES(enc_tiles_256_residual, 256, 4, false, true, false)
ENC_TILES(enc_tiles_128_plain, 128, 5, false, false, false)
ENC_TILES(enc_tiles_128_gelu, 128, 5, true, false, false)
ENC_TILES(enc_tiles_128_residual, 128, 5, false, true, false)
ENC_TILES(enc_tiles_256_e4m3_plain, 256, 4, false, false, true)
ENC_TILES(enc_tiles_256_e4m3_gelu, 256, 4, true, false, true)
ENC_TILES(enc_tiles_128_e4m3_plain, 128, 5, false, false, true)
ENC_TILES(enc_tiles_128_e4m3_gelu, 128, 5, true, false, true)
