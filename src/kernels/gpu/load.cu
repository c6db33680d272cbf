// Weights as they are loaded: single precision comes up, half floats in the kernels' layouts stay.
#pragma once
#include "tile.h"

struct Halve { const float* from; h16* to; long long count; };
SMALL_KERNEL(256) halve(ARGUMENT Halve p) {
    for (int u = 0; u < 4; ++u) {
        long long i = blockIdx.x * 1024ll + u * 256 + threadIdx.x;
        if (i < p.count) p.to[i] = to_half(p.from[i]);
    }
}

// Reads memory once, pieces of 16 bytes: how fast a card gives it. What it finds is written where it says so.
struct Sweep { const u8* from; u32* found; long long pieces; };
SMALL_KERNEL(256) sweep(ARGUMENT Sweep p) {
    u32 all = 0;
    long long step = (long long)gridDim.x * 1024;
    for (long long first = blockIdx.x * 1024ll + threadIdx.x; first < p.pieces; first += step) {
#pragma unroll
        for (int u = 0; u < 4; ++u) {
            long long i = first + u * 256;
            if (i >= p.pieces) continue;
            uint4 v = load_once(p.from + i * 16);
            all ^= v.x ^ v.y ^ v.z ^ v.w;
        }
    }
    for (int o = 16; o; o >>= 1) all ^= __shfl_xor_sync(~0u, all, o);
    if ((threadIdx.x & 31) == 0) p.found[blockIdx.x * 8 + threadIdx.x / 32] = all;
}

// (N, K) into tiles of 64 outputs and 64 columns, see StepGemm. A block a tile, tiles of one row of tiles first; what lies
// past N is zero.
struct Pack { const float* from; h16* to; int N, K; };
SMALL_KERNEL(256) pack_tiles(ARGUMENT Pack p) {
    int blocks = p.K / 64, n0 = blockIdx.x / blocks * 64, k0 = blockIdx.x % blocks * 64;
    for (int i = threadIdx.x; i < 4096; i += 256) {
        int r = i / 64, c = i % 64, n = n0 + r;
        float v = n < p.N ? p.from[(long long)n * p.K + k0 + c] : 0.f;
        p.to[blockIdx.x * 4096ll + r * 64 + (c / 8 ^ (r & 7)) * 8 + c % 8] = to_half(v);
    }
}
