// Keys and values of the cross-attention, from the rows that a linear layer gave to the layouts that cross.cu reads.
#pragma once
#include "tile.h"

enum { BYTES_A_POSITION = 65 };   // 64 numbers of a head in bytes, and their scale, which is a byte too: of 255 parts

// kv (window, positions, 2 D): keys, then values, of the windows that were encoded together; windows[z] is the place of the
// z-th in the caches.
struct KvLayout {
    const h16* kv; u8 *keys, *values; float *key_scale, *value_scale; const int* windows;
    float* spreads;            // (window, head, KV_PARTS, 4, 64): bytes alone
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

// In bytes: keys less their mean over the positions (softmax does not see it), and values, each with a scale a dimension and,
// within those, a scale a position: few positions come near to what is the greatest of all. The positions' scales lie behind
// a head's bytes.
// Two kernels: what the numbers spread over, in KV_PARTS parts of the positions, and then the bytes.
enum { KV_PARTS = 8 };
DEV int kv_first(const KvLayout& p, int part) { return min(p.padded, part * ceil_div(p.padded / 64, KV_PARTS) * 64); }
DEV float* kv_spreads(const KvLayout& p, int window, int h, int part) { return p.spreads + (((long long)window * (p.D / 64) + h) * KV_PARTS + part) * 256; }

// A block is (part, head, window) of 256 threads: sum, greatest and least of the keys, greatest size of the values.
SMALL_KERNEL(256) kv_spread(ARGUMENT KvLayout p) {
    SHARED float red[4][8][64];
    let_next_start();
    wait_before();
    int part = blockIdx.x, h = blockIdx.y, z = blockIdx.z, tid = threadIdx.x, c = tid % 8 * 8;
    const h16* from = p.kv + (long long)z * p.positions * 2 * p.D + h * 64 + c;
    float sum[8], most[8], least[8], size[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) { sum[j] = 0; most[j] = LOWEST; least[j] = -LOWEST; size[j] = 0; }
    int last = min(p.positions, kv_first(p, part + 1));
    for (int position = kv_first(p, part) + tid / 8; position < last; position += 32) {
        uint4 a = *(const uint4*)(from + (long long)position * 2 * p.D), b = *(const uint4*)(from + (long long)position * 2 * p.D + p.D);
        const h16 *k = (const h16*)&a, *v = (const h16*)&b;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            float f = to_float(k[j]);
            sum[j] += f; most[j] = fmaxf(most[j], f); least[j] = fminf(least[j], f);
            size[j] = fmaxf(size[j], fabsf(to_float(v[j])));
        }
    }
    // The four lanes of a warp with the same dimensions.
#pragma unroll
    for (int j = 0; j < 8; ++j) for (int o = 8; o < 32; o <<= 1) {
        sum[j] += __shfl_xor_sync(~0u, sum[j], o); most[j] = fmaxf(most[j], __shfl_xor_sync(~0u, most[j], o));
        least[j] = fminf(least[j], __shfl_xor_sync(~0u, least[j], o)); size[j] = fmaxf(size[j], __shfl_xor_sync(~0u, size[j], o));
    }
    if ((tid & 31) < 8) for (int j = 0; j < 8; ++j) {
        int w = tid / 32;
        red[0][w][c + j] = sum[j]; red[1][w][c + j] = most[j]; red[2][w][c + j] = least[j]; red[3][w][c + j] = size[j];
    }
    __syncthreads();
    int what = tid / 64, d = tid % 64;
    float all = red[what][0][d];
    for (int w = 1; w < 8; ++w) { float other = red[what][w][d]; all = what == 0 ? all + other : what == 2 ? fminf(all, other) : fmaxf(all, other); }
    kv_spreads(p, z, h, part)[what * 64 + d] = all;
}
DEV u32 byte_of(float f) { return (u32)__float2int_rn(f) & 255; }
// The scale of a position of which the eight neighbouring lanes have 8 numbers each, in parts of their dimensions' greatest: the
// next byte that is not less.
DEV int position_scale(const float (&of)[8]) {
    float most = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) most = fmaxf(most, fabsf(of[j]));
    for (int o = 1; o < 8; o <<= 1) most = fmaxf(most, __shfl_xor_sync(~0u, most, o));
    return max(1, min(255, __float2int_rn(most * 255.f + .5f)));
}

// A block is (part, head, window) of 256 threads.
SMALL_KERNEL(256) kv_i8(ARGUMENT KvLayout p) {
    SHARED float mean[64], per_key[64], per_value[64];
    SHARED u8 turned[64][80];
    let_next_start();
    wait_before();
    int part = blockIdx.x, h = blockIdx.y, z = blockIdx.z, tid = threadIdx.x, c = tid % 8 * 8, window = p.windows[z];
    const h16* from = p.kv + (long long)z * p.positions * 2 * p.D + h * 64 + c;
    if (tid < 64) {
        float sum = 0, most = LOWEST, least = -LOWEST, size = 0;
        for (int i = 0; i < KV_PARTS; ++i) {
            const float* s = kv_spreads(p, z, h, i) + tid;
            sum += s[0]; most = fmaxf(most, s[64]); least = fminf(least, s[128]); size = fmaxf(size, s[192]);
        }
        sum /= p.positions;
        float key = fmaxf(fmaxf(most - sum, sum - least), 1e-8f), value = fmaxf(size, 1e-8f);
        mean[tid] = sum; per_key[tid] = 1.f / key; per_value[tid] = 1.f / value;
        if (part == 0) { p.key_scale[(long long)window * p.D + h * 64 + tid] = key / 127.f; p.value_scale[(long long)window * p.D + h * 64 + tid] = value / (127.f * 255.f); }
    }
    __syncthreads();
    long long at = window * p.window_bytes + (long long)h * p.padded * BYTES_A_POSITION;
    u8 *key_scales = p.keys + at + p.padded * 64, *value_scales = p.values + at + p.padded * 64;
    for (int first = kv_first(p, part), last = kv_first(p, part + 1); first < last; first += 64) {
        for (int r = tid / 8; r < 64; r += 32) {
            int position = first + r;
            bool there = position < p.positions;
            uint4 a = make_uint4(0, 0, 0, 0), b = a;
            if (there) { a = *(const uint4*)(from + (long long)position * 2 * p.D); b = *(const uint4*)(from + (long long)position * 2 * p.D + p.D); }
            const h16 *k = (const h16*)&a, *v = (const h16*)&b;
            float key[8], value[8];
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                key[j] = there ? (to_float(k[j]) - mean[c + j]) * per_key[c + j] : 0.f;
                value[j] = there ? to_float(v[j]) * per_value[c + j] : 0.f;
            }
            int of_keys = position_scale(key), of_values = position_scale(value);
            if (c == 0) { key_scales[position] = (u8)of_keys; value_scales[position] = (u8)of_values; }
            float per_k = 127.f * 255.f / of_keys, per_v = 127.f * 255.f / of_values;
            u32 w[2] = {0, 0};
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                w[j / 4] |= byte_of(key[j] * per_k) << (8 * (j & 3));
                turned[c + j][r] = (u8)byte_of(value[j] * per_v);
            }
            *(uint2*)(p.keys + at + (long long)position * 64 + c) = make_uint2(w[0], w[1]);
        }
        __syncthreads();
        int d = tid / 4, piece = tid % 4 * 16;
        *(uint4*)(p.values + at + (long long)first * 64 + d * 64 + piece) = *(const uint4*)&turned[d][piece];
        __syncthreads();
    }
}
