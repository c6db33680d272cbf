// Eight-bit floats (e4m3: four bits of exponent, three of mantissa, up to 448) for the encoder's products, with a scale a row.
#pragma once
#include "tma.h"
#include "../encoder.cu"

#define MOST_E4M3 448.f
DEV u32 pack_e4m3(float a, float b, float c, float d) { return pack_e4m3(a, b) | (u32)pack_e4m3(c, d) << 16; }

// Weights (N, K) as they are loaded: bytes, and what each row of them is to be multiplied by. A warp a row, 8 rows a block; K
// is a multiple of 128.
struct Narrow { const float* from; u8* to; float* scales; int N, K; };
SMALL_KERNEL(256) narrow_rows(ARGUMENT Narrow p) {
    int n = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x & 31;
    if (n >= p.N) return;
    const float* from = p.from + (long long)n * p.K;
    float most = 0;
    for (int k = lane; k < p.K; k += 32) most = fmaxf(most, fabsf(from[k]));
    most = warp_max(most);
    float scale = most > 0 ? MOST_E4M3 / most : 0.f;
    if (lane == 0) p.scales[n] = most / MOST_E4M3;
    for (int k = lane * 4; k < p.K; k += 128) {
        float4 v = *(const float4*)(from + k);
        *(u32*)(p.to + (long long)n * p.K + k) = pack_e4m3(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
    }
}

// The encoder's LayerNorm, its result in bytes.
SMALL_KERNEL(256) enc_ln_e4m3(ARGUMENT EncNorm p) {
    int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x & 31, n = p.D / 128;
    let_next_start();
    wait_before();
    if (row >= p.rows) return;
    float v[40], most = 0;
    norm_row(p, row, v);
#pragma unroll
    for (int i = 0; i < 40; ++i) if (i / 4 < n) most = fmaxf(most, fabsf(v[i]));
    most = warp_max(most);
    float scale = most > 0 ? MOST_E4M3 / most : 0.f;
    if (lane == 0) p.scales[row] = most / MOST_E4M3;
    u8* y = (u8*)p.y + (long long)row * p.D + lane * 4;
#pragma unroll
    for (int i = 0; i < 10; ++i) if (i < n) *(u32*)(y + i * 128) = pack_e4m3(v[4 * i] * scale, v[4 * i + 1] * scale, v[4 * i + 2] * scale, v[4 * i + 3] * scale);
}
