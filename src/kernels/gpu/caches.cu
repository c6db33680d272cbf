// Keys and values of the cross-attention, from the rows that a linear layer gave to the layouts that cross.cu reads.
#pragma once
#include "tile.h"

// kv (window, positions, 2 D): keys, then values, of the windows that were encoded together; windows[z] is the place of the
// z-th in the caches.
struct KvLayout {
    const h16* kv; u8 *keys, *values; float *key_scale, *value_scale; const int* windows;
    long long window_bytes;
    int positions, D, padded;
};
// A block is (block of 32 positions, head, window).
SMALL_KERNEL(128) kv_f16(ARGUMENT KvLayout p) {
    SHARED h16 turned[64][40];
    let_next_start();
    wait_before();
    int block = blockIdx.x, h = blockIdx.y, z = blockIdx.z, tid = threadIdx.x;
    const h16* from = p.kv + (long long)z * p.positions * 2 * p.D + h * 64;
    long long at = p.windows[z] * p.window_bytes + ((long long)h * p.padded + block * 32) * 128;
    h16 *k = (h16*)(p.keys + at), *v = (h16*)(p.values + at);
    for (int i = tid; i < 32 * 8; i += 128) {
        int r = i / 8, c = i % 8 * 8, position = block * 32 + r;
        uint4 a = make_uint4(0, 0, 0, 0), b = a;
        if (position < p.positions) { a = *(const uint4*)(from + (long long)position * 2 * p.D + c); b = *(const uint4*)(from + (long long)position * 2 * p.D + p.D + c); }
        *(uint4*)(k + r * 64 + c) = a;
        const h16* e = (const h16*)&b;
        for (int j = 0; j < 8; ++j) turned[c + j][r] = e[j];
    }
    __syncthreads();
    for (int i = tid; i < 64 * 4; i += 128) { int d = i / 4, c = i % 4 * 8; *(uint4*)(v + d * 32 + c) = *(const uint4*)&turned[d][c]; }
}

// In bytes: keys less their mean over the positions (softmax does not see it), a scale a dimension; values a scale a dimension.
struct Spread { float sum[8], most[8], least[8], size[8]; };
DEV void look(const KvLayout& p, const h16* from, Spread& s) {
    for (int j = 0; j < 8; ++j) { s.sum[j] = 0; s.most[j] = LOWEST; s.least[j] = -LOWEST; s.size[j] = 0; }
    for (int position = threadIdx.x / 8; position < p.positions; position += 32) {
        uint4 a = *(const uint4*)(from + (long long)position * 2 * p.D), b = *(const uint4*)(from + (long long)position * 2 * p.D + p.D);
        const h16 *k = (const h16*)&a, *v = (const h16*)&b;
        for (int j = 0; j < 8; ++j) {
            float f = to_float(k[j]);
            s.sum[j] += f; s.most[j] = fmaxf(s.most[j], f); s.least[j] = fminf(s.least[j], f);
            s.size[j] = fmaxf(s.size[j], fabsf(to_float(v[j])));
        }
    }
    // The four lanes of a warp with the same dimensions.
    for (int j = 0; j < 8; ++j) for (int o = 8; o < 32; o <<= 1) {
        s.sum[j] += __shfl_xor_sync(~0u, s.sum[j], o); s.most[j] = fmaxf(s.most[j], __shfl_xor_sync(~0u, s.most[j], o));
        s.least[j] = fminf(s.least[j], __shfl_xor_sync(~0u, s.least[j], o)); s.size[j] = fmaxf(s.size[j], __shfl_xor_sync(~0u, s.size[j], o));
    }
}
DEV u32 byte_of(float f) { return (u32)__float2int_rn(f) & 255; }

// A block is (head, window) of 256 threads.
SMALL_KERNEL(256) kv_i8(ARGUMENT KvLayout p) {
    SHARED float red[4][8][64], mean[64], per_key[64], per_value[64];
    SHARED u8 turned[64][80];
    let_next_start();
    wait_before();
    int h = blockIdx.x, z = blockIdx.y, tid = threadIdx.x, c = tid % 8 * 8, window = p.windows[z];
    const h16* from = p.kv + (long long)z * p.positions * 2 * p.D + h * 64 + c;
    Spread s;
    look(p, from, s);
    if ((tid & 31) < 8) for (int j = 0; j < 8; ++j) {
        int w = tid / 32;
        red[0][w][c + j] = s.sum[j]; red[1][w][c + j] = s.most[j]; red[2][w][c + j] = s.least[j]; red[3][w][c + j] = s.size[j];
    }
    __syncthreads();
    if (tid < 64) {
        float sum = 0, most = LOWEST, least = -LOWEST, size = 0;
        for (int w = 0; w < 8; ++w) { sum += red[0][w][tid]; most = fmaxf(most, red[1][w][tid]); least = fminf(least, red[2][w][tid]); size = fmaxf(size, red[3][w][tid]); }
        sum /= p.positions;
        float key = fmaxf(fmaxf(most - sum, sum - least), 1e-8f) / 127.f, value = fmaxf(size, 1e-8f) / 127.f;
        mean[tid] = sum; per_key[tid] = 1.f / key; per_value[tid] = 1.f / value;
        p.key_scale[(long long)window * p.D + h * 64 + tid] = key; p.value_scale[(long long)window * p.D + h * 64 + tid] = value;
    }
    __syncthreads();
    long long at = window * p.window_bytes + (long long)h * p.padded * 64;
    for (int block = 0; block < p.padded / 64; ++block) {
        for (int r = tid / 8; r < 64; r += 32) {
            int position = block * 64 + r;
            bool there = position < p.positions;
            uint4 a = make_uint4(0, 0, 0, 0), b = a;
            if (there) { a = *(const uint4*)(from + (long long)position * 2 * p.D); b = *(const uint4*)(from + (long long)position * 2 * p.D + p.D); }
            const h16 *k = (const h16*)&a, *v = (const h16*)&b;
            u32 w[2] = {0, 0};
            for (int j = 0; j < 8; ++j) {
                w[j / 4] |= (there ? byte_of((to_float(k[j]) - mean[c + j]) * per_key[c + j]) : 0u) << (8 * (j & 3));
                turned[c + j][r] = there ? (u8)byte_of(to_float(v[j]) * per_value[c + j]) : 0;
            }
            *(uint2*)(p.keys + at + (long long)position * 64 + c) = make_uint2(w[0], w[1]);
        }
        __syncthreads();
        int d = tid / 4, piece = tid % 4 * 16;
        *(uint4*)(p.values + at + (long long)block * 4096 + d * 64 + piece) = *(const uint4*)&turned[d][piece];
        __syncthreads();
    }
}
