// Matrix products for many rows on every chip from sm_80 on: the encoder's layers and convolutions, and the decoder's steps
// of more rows than `small` takes.
#pragma once
#include "step.h"

// out[m][n] = what(sum_k a[m][k] w[n][k] + bias[n]). 8 warps in two rows of four; slices of K stream through a ring.
template <int BM, int BN> struct Tile {
    static const int BK = 32, PITCH = 80, STAGES = 3, STAGE = (BM + BN) * PITCH, MT = BM / 32, NT = BN / 32;   // PITCH: bytes, so that rows fall on other banks
    float acc[MT][NT][4];
    u32 ring;
    int warp, lane;

    METHOD Tile(u8* raw) : ring(shared_address(raw)), warp(threadIdx.x / 32), lane(threadIdx.x & 31) {
#pragma unroll
        for (int i = 0; i < MT; ++i)
#pragma unroll
            for (int j = 0; j < NT; ++j) acc[i][j][0] = acc[i][j][1] = acc[i][j][2] = acc[i][j][3] = 0;
    }
    // `a` and `w` say where the 8 numbers of a row and a piece of K are, or null.
    template <class A, class W> METHOD void load(int slice, A a, W w) {
        u32 to = ring + slice % STAGES * STAGE;
        for (int i = threadIdx.x; i < (BM + BN) * 4; i += 256) {
            int r = i / 4, piece = slice * 4 + i % 4;
            const h16* from = r < BM ? a(r, piece * 8) : w(r - BM, piece * 8);
            copy16_or_zero(to + r * PITCH + i % 4 * 16, from ? from : w(0, 0), from != 0);
        }
    }
    METHOD void multiply(int slice) {
        u32 at = ring + slice % STAGES * STAGE;
        u32 a0 = at + (warp / 4 * (BM / 2) + (lane & 15)) * PITCH + (lane >> 4) * 16;
        u32 b0 = at + (BM + warp % 4 * (BN / 4) + (lane & 7)) * PITCH + (lane >> 3 & 1) * 16;
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            u32 b[NT][2];
#pragma unroll
            for (int j = 0; j < NT; ++j) ldmatrix2(b[j], b0 + j * 8 * PITCH + k * 32);
#pragma unroll
            for (int i = 0; i < MT; ++i) {
                u32 a[4];
                ldmatrix4(a, a0 + i * 16 * PITCH + k * 32);
#pragma unroll
                for (int j = 0; j < NT; ++j) mma(acc[i][j], a[0], a[1], a[2], a[3], b[j][0], b[j][1]);
            }
        }
    }
    template <class A, class W> METHOD void run(int K, A a, W w) {
        int slices = ceil_div(K, BK);
#pragma unroll
        for (int i = 0; i < STAGES - 1; ++i) { if (i < slices) load(i, a, w); copy_commit(); }
        for (int i = 0; i < slices; ++i) {
            copy_wait<STAGES - 2>();
            __syncthreads();
            if (i + STAGES - 1 < slices) load(i + STAGES - 1, a, w);
            copy_commit();
            multiply(i);
        }
    }
    // Every pair of results that lie side by side: row and first column within the tile.
    template <class F> METHOD void each(F f) const {
#pragma unroll
        for (int i = 0; i < MT; ++i)
#pragma unroll
            for (int j = 0; j < NT; ++j) {
                int m = warp / 4 * (BM / 2) + i * 16 + lane / 4, n = warp % 4 * (BN / 4) + j * 8 + (lane & 3) * 2;
                f(m, n, acc[i][j][0], acc[i][j][1]);
                f(m + 8, n, acc[i][j][2], acc[i][j][3]);
            }
    }
};

// The decoder's layers, 64 rows by 64 outputs a block: grid (tiles of outputs, tiles of rows).
template <int WHAT> DEV void step_gemm(const StepGemm& p) {
    DYNAMIC(raw);
    Tile<64, 64> tile(raw);
    int n0 = blockIdx.x * 64, m0 = blockIdx.y * 64;
    let_next_start();
    wait_before();
    const h16* weights = p.weights + (long long)blockIdx.x * (p.K / 64) * 4096;
    tile.run(p.K, [&](int m, int k) { return m0 + m < p.B && k < p.K ? p.x + (long long)(m0 + m) * p.K + k : (const h16*)0; },
             [&](int n, int k) { return k < p.K ? weights + k / 64 * 4096 + n * 64 + ((k % 64 / 8) ^ (n & 7)) * 8 : (const h16*)0; });
    tile.each([&](int m, int n, float v0, float v1) {
        int b = m0 + m;
        if (b >= p.B) return;
        int store = WHAT == QKV ? p.rows[b].store : 0;
        for (int i = 0; i < 2; ++i) {
            int at = n0 + n + i;
            if (at >= p.N) continue;
            float v = (i ? v1 : v0) + (WHAT != LOGITS && p.bias ? p.bias[at] : 0.f);
            put<WHAT>(p, b, at, v, WHAT == RESIDUAL ? p.out32[(long long)b * p.N + at] : 0.f, store);
        }
    });
}
SMALL_KERNEL(256) tile_half(ARGUMENT StepGemm p) { step_gemm<HALF>(p); }
SMALL_KERNEL(256) tile_gelu(ARGUMENT StepGemm p) { step_gemm<GELU>(p); }
SMALL_KERNEL(256) tile_residual(ARGUMENT StepGemm p) { step_gemm<RESIDUAL>(p); }
SMALL_KERNEL(256) tile_qkv(ARGUMENT StepGemm p) { step_gemm<QKV>(p); }
SMALL_KERNEL(256) tile_logits(ARGUMENT StepGemm p) { step_gemm<LOGITS>(p); }

// The encoder's layers, 128 rows by 128 outputs a block: grid (tiles of outputs, tiles of rows, windows). Rows may overlap:
// three neighbouring frames are a row of a convolution's matrix, so it needs none of its own.
struct EncGemm {
    const h16 *a, *w; const float* bias;
    const h16* residual; h16* out;                        // residual: may be out
    long long a_window, a_row, out_window, out_row;       // numbers from window to window, from row to row
    int rows, N, K;
};
template <bool ACTIVATE, bool ADD> DEV void enc_gemm(const EncGemm& p) {
    DYNAMIC(raw);
    Tile<128, 128> tile(raw);
    int n0 = blockIdx.x * 128, m0 = blockIdx.y * 128;
    const h16* a = p.a + blockIdx.z * p.a_window;
    let_next_start();
    wait_before();
    tile.run(p.K, [&](int m, int k) { return m0 + m < p.rows && k < p.K ? a + (m0 + m) * p.a_row + k : (const h16*)0; },
             [&](int n, int k) { return n0 + n < p.N && k < p.K ? p.w + (long long)(n0 + n) * p.K + k : (const h16*)0; });
    tile.each([&](int m, int n, float v0, float v1) {
        if (m0 + m >= p.rows || n0 + n >= p.N) return;
        long long at = blockIdx.z * p.out_window + (m0 + m) * p.out_row + n0 + n;
        if (p.bias) { v0 += p.bias[n0 + n]; v1 += p.bias[n0 + n + 1]; }
        if (ACTIVATE) { v0 = gelu(v0); v1 = gelu(v1); }
        if (ADD) { u32 old = *(const u32*)(p.residual + at); v0 += low(old); v1 += high(old); }
        *(u32*)(p.out + at) = pack(v0, v1);
    });
}
SMALL_KERNEL(256) enc_gemm_plain(ARGUMENT EncGemm p) { enc_gemm<false, false>(p); }
SMALL_KERNEL(256) enc_gemm_gelu(ARGUMENT EncGemm p) { enc_gemm<true, false>(p); }
SMALL_KERNEL(256) enc_gemm_residual(ARGUMENT EncGemm p) { enc_gemm<false, true>(p); }
