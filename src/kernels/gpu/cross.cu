// Cross-attention of a window's rows (at most 8, next to each other) to its audio, and the caches that it reads. A window's
// cache is read once for all its rows: they are the rows of the tensor cores' tile.
// Keys (head, positions, 64); values transposed in blocks of positions, (head, block, 64, block's positions), so that every
// load is 16 bytes wide. Half floats in blocks of 32 positions, or bytes in blocks of 64 with a scale a head and dimension and a
// scale a head and position (see caches.cu).
#pragma once
#include "caches.cu"
#include "step.h"

struct CrossAttn {
    const h16* q;
    const u8 *keys, *values; const float *key_scale, *value_scale;   // this layer's, of all windows; scales: bytes only
    const Group* groups;
    h16* out;
    float* parts;              // (group, head, split, 8, 66): weighted values, maximum, sum; where the positions are split
    long long window_bytes;    // of a window's keys (and values) in this layer
    int D, padded, split;      // padded: positions that a head has room for
};
#define PART 528   // floats of one block's part

template <bool BYTES> struct Cross {
    static const int BLOCK = BYTES ? 64 : 32, TILES = BLOCK / 8, SIZE = BYTES ? 1 : 2;
    static constexpr float SCORE = BYTES ? SCORE_SCALE / 255.f : SCORE_SCALE;
    const CrossAttn& p;
    Group group;
    int h, warp, g, t;     // g: row of the tile, t: quarter of its columns
    const u8 *keys, *values;
    uint4 k[8], v[8], key_scales, value_scales;   // scales: of a lane's 16 positions
    u32 q[8];
    float o[8][4], max, sum;

    METHOD Cross(const CrossAttn& p, const Group& group) : p(p), group(group), max(LOWEST), sum(0) {
        int lane = threadIdx.x & 31;
        h = blockIdx.y; warp = threadIdx.x / 32; g = lane / 4; t = lane & 3;
        long long at = group.window * p.window_bytes + (long long)h * p.padded * (BYTES ? BYTES_A_POSITION : 128);
        keys = p.keys + at; values = p.values + at;
#pragma unroll
        for (int d = 0; d < 8; ++d) o[d][0] = o[d][1] = o[d][2] = o[d][3] = 0;
    }
    // Keys are dealt to the tile so that a lane's numbers lie together; softmax does not mind their order.
    METHOD void load_keys(int block) {
#pragma unroll
        for (int j = 0; j < TILES; ++j) {
            int key = block * BLOCK + (BLOCK / 4) * (g / 2) + 2 * j + (g & 1);
            const u8* a = keys + (long long)key * 64 * SIZE + t * 16;
            if (BYTES) k[j] = load_once(a);
            else { k[2 * j % 8] = load_once(a); k[(2 * j + 1) % 8] = load_once(a + 64); }
        }
        if (BYTES) key_scales = load_once(keys + p.padded * 64 + block * 64 + t * 16);
    }
    METHOD void load_values(int block) {
#pragma unroll
        for (int d = 0; d < 8; ++d) v[d] = load_once(values + (long long)block * 64 * BLOCK * SIZE + (8 * d + g) * 64 + t * 16);
        if (BYTES) value_scales = load_once(values + p.padded * 64 + block * 64 + t * 16);
    }
    METHOD void load_query() {
#pragma unroll
        for (int i = 0; i < 8; ++i) q[i] = 0;
        if (g >= group.rows) return;
        const h16* from = p.q + (long long)(group.first + g) * p.D + h * 64;
        if (BYTES) {
            const float* scale = p.key_scale + (long long)group.window * p.D + h * 64 + t * 16;
#pragma unroll
            for (int i = 0; i < 8; ++i) { u32 w = *(const u32*)(from + t * 16 + 2 * i); q[i] = pack(low(w) * scale[2 * i], high(w) * scale[2 * i + 1]); }
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) { q[i] = *(const u32*)(from + t * 8 + 2 * i); q[4 + i] = *(const u32*)(from + 32 + t * 8 + 2 * i); }
        }
    }
    METHOD void scores(int block, float (&s)[TILES][4]) {
#pragma unroll
        for (int j = 0; j < TILES; ++j) {
            s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
            if (BYTES) {
                const u32* w = (const u32*)&k[j];
#pragma unroll
                for (int e = 0; e < 4; ++e) { u32 x, y; widen(w[e], x, y); mma(s[j], q[2 * e], 0, q[2 * e + 1], 0, x, y); }
            } else {
                const u32 *w = (const u32*)&k[2 * j % 8], *u = (const u32*)&k[(2 * j + 1) % 8];
                mma(s[j], q[0], 0, q[1], 0, w[0], w[1]); mma(s[j], q[2], 0, q[3], 0, w[2], w[3]);
                mma(s[j], q[4], 0, q[5], 0, u[0], u[1]); mma(s[j], q[6], 0, q[7], 0, u[2], u[3]);
            }
        }
#pragma unroll
        for (int j = 0; j < TILES; j += 2) {
            u32 scale[2] = {0, 0};
            if (BYTES) widen_unsigned(((const u32*)&key_scales)[j / 2 % 4], scale[0], scale[1]);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                int key = block * BLOCK + (BLOCK / 4) * t + 2 * j + i;
                float& v = s[j + i / 2][i & 1];
                if (BYTES) v *= i & 1 ? high(scale[i / 2]) : low(scale[i / 2]);
                v = key < group.positions ? v : LOWEST;
            }
        }
    }
    // Scores become probabilities, relative to the greatest score so far. They are still without SCORE, a power of two's.
    METHOD void softmax(float (&s)[TILES][4], u32 (&probability)[TILES]) {
        float top = LOWEST, own = 0;
#pragma unroll
        for (int j = 0; j < TILES; ++j) top = fmaxf(top, fmaxf(s[j][0], s[j][1]));
        top = fmaxf(top, __shfl_xor_sync(~0u, top, 1)); top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
        float now = fmaxf(max, top), fade = fast_exp2((max - now) * SCORE), shift = -now * SCORE;
        max = now;
#pragma unroll
        for (int j = 0; j < TILES; ++j) {
            float a = fast_exp2(fmaf(s[j][0], SCORE, shift)), b = fast_exp2(fmaf(s[j][1], SCORE, shift));
            own += a + b;
            probability[j] = pack(a, b);
        }
        if (BYTES) {
#pragma unroll
            for (int j = 0; j < TILES; j += 2) {
                u32 first, second;
                widen_unsigned(((const u32*)&value_scales)[j / 2 % 4], first, second);
                probability[j] = times(probability[j], first); probability[j + 1] = times(probability[j + 1], second);
            }
        }
        sum = sum * fade + own;
#pragma unroll
        for (int d = 0; d < 8; ++d) { o[d][0] *= fade; o[d][1] *= fade; }
    }
    METHOD void weigh(const u32 (&probability)[TILES]) {
#pragma unroll
        for (int d = 0; d < 8; ++d) {
            const u32* w = (const u32*)&v[d];
#pragma unroll
            for (int e = 0; e < TILES / 2; ++e) {
                u32 x = w[2 * e % 4], y = w[(2 * e + 1) % 4];
                if (BYTES) widen(w[e], x, y);
                mma(o[d], probability[2 * e], 0, probability[2 * e + 1], 0, x, y);
            }
        }
    }
};

DEV void put_cross(const CrossAttn& p, const Group& group, int h, int row, int d, float v) {
    if (p.value_scale) v *= p.value_scale[(long long)group.window * p.D + h * 64 + d];
    p.out[(long long)(group.first + row) * p.D + h * 64 + d] = to_half(v);
}

// A block is (part of the positions, head, group) of 4 warps, which take its blocks of positions in turn.
template <bool BYTES> DEV void cross_attn(const CrossAttn& p) {
    typedef Cross<BYTES> C;
    SHARED float max[4][8], sum[4][8], o[4][8][66];
    Group group = p.groups[blockIdx.z];
    let_next_start();
    if (group.rows == 0) { wait_before(); return; }
    C c(p, group);
    int part = blockIdx.x, blocks = ceil_div(group.positions, C::BLOCK), each = ceil_div(blocks, p.split);
    int block = part * each + c.warp, end = min(blocks, part * each + each);
    // The window was encoded before this step began: its cache may be read before the kernel in front has ended.
    if (block < end) { c.load_keys(block); c.load_values(block); }
    wait_before();
    c.load_query();
    for (; block < end; block += 4) {
        float s[C::TILES][4];
        u32 probability[C::TILES];
        c.scores(block, s);
        if (block + 4 < end) c.load_keys(block + 4);
        c.softmax(s, probability);
        c.weigh(probability);
        if (block + 4 < end) c.load_values(block + 4);
    }
    c.sum += __shfl_xor_sync(~0u, c.sum, 1); c.sum += __shfl_xor_sync(~0u, c.sum, 2);
    if (c.t == 0) { max[c.warp][c.g] = c.max * C::SCORE; sum[c.warp][c.g] = c.sum; }
#pragma unroll
    for (int d = 0; d < 8; ++d) { o[c.warp][c.g][8 * d + 2 * c.t] = c.o[d][0]; o[c.warp][c.g][8 * d + 2 * c.t + 1] = c.o[d][1]; }
    __syncthreads();
    float* own = p.parts + (((long long)blockIdx.z * gridDim.y + c.h) * p.split + part) * PART;
    for (int i = threadIdx.x; i < group.rows * 64; i += 128) {
        int r = i / 64, d = i % 64;
        float top = fmaxf(fmaxf(max[0][r], max[1][r]), fmaxf(max[2][r], max[3][r])), a = 0, b = 0;
#pragma unroll
        for (int w = 0; w < 4; ++w) { float f = fast_exp2(max[w][r] - top); a += o[w][r][d] * f; b += sum[w][r] * f; }
        if (p.split == 1) { put_cross(p, group, c.h, r, d, a / b); continue; }
        own[r * 66 + d] = a;
        if (d == 0) { own[r * 66 + 64] = top; own[r * 66 + 65] = b; }
    }
}
SMALL_KERNEL(128) cross_f16(ARGUMENT CrossAttn p) { cross_attn<false>(p); }
CROWDED_KERNEL(128, 3) cross_i8(ARGUMENT CrossAttn p) { cross_attn<true>(p); }

// Adds up a head's parts, at most 12, always in the same order. A block is (head, group). A kernel of its own, because the
// next one's blocks would all read the same parts at once, and a counter in this one's takes longer.
SMALL_KERNEL(64) cross_sum(ARGUMENT CrossAttn p) {
    Group group = p.groups[blockIdx.y];
    let_next_start();
    wait_before();
    const float* all = p.parts + ((long long)blockIdx.y * gridDim.x + blockIdx.x) * p.split * PART;
    int d = threadIdx.x;
    for (int r = 0; r < group.rows; ++r) {
        float m[12], o[12], l[12], top = LOWEST, a = 0, b = 0;
#pragma unroll
        for (int c = 0; c < 12; ++c) if (c < p.split) { const float* q = all + c * PART + r * 66; m[c] = load_fresh(q + 64); l[c] = load_fresh(q + 65); o[c] = load_fresh(q + d); }
#pragma unroll
        for (int c = 0; c < 12; ++c) if (c < p.split) top = fmaxf(top, m[c]);
#pragma unroll
        for (int c = 0; c < 12; ++c) if (c < p.split) { float f = fast_exp2(m[c] - top); a += o[c] * f; b += l[c] * f; }
        put_cross(p, group, blockIdx.x, r, d, a / b);
    }
}

// The weights themselves, as word times need them: out (row of the step, watched head, positions), each a softmax. A block is
// (watched head of this layer, group).
struct CrossWeights {
    const h16* q; const u8* keys; const float* key_scale; const Group* groups;
    const int* heads;                  // watched in this layer
    float* out; long long window_bytes;
    int D, padded, bytes;
    int first, watched, wide;          // out: this layer's first of all watched heads, how many there are, floats of a row
};
SMALL_KERNEL(128) cross_weights(ARGUMENT CrossWeights p) {
    SHARED float red[8], q[64];
    Group group = p.groups[blockIdx.y];
    int h = p.heads[blockIdx.x], tid = threadIdx.x;
    let_next_start();
    wait_before();
    const u8* keys = p.keys + group.window * p.window_bytes + (long long)h * p.padded * (p.bytes ? BYTES_A_POSITION : 128);
    const u8* scales = keys + p.padded * 64;
    for (int r = 0; r < group.rows; ++r) {
        float* out = p.out + ((long long)(group.first + r) * p.watched + p.first + blockIdx.x) * p.wide;
        float top = LOWEST, sum = 0;
        if (tid < 64) {
            q[tid] = to_float(p.q[(long long)(group.first + r) * p.D + h * 64 + tid]) * SCORE_SCALE;
            if (p.bytes) q[tid] *= p.key_scale[(long long)group.window * p.D + h * 64 + tid];
        }
        __syncthreads();
        for (int k = tid; k < group.positions; k += 128) {
            float s = 0;
            for (int d = 0; d < 64; ++d) s += q[d] * (p.bytes ? (float)(signed char)keys[k * 64 + d] : to_float(((const h16*)keys)[k * 64 + d]));
            if (p.bytes) s *= scales[k] / 255.f;
            out[k] = s; top = fmaxf(top, s);
        }
        top = warp_max(top);
        if ((tid & 31) == 0) red[tid / 32] = top;
        __syncthreads();
        top = fmaxf(fmaxf(red[0], red[1]), fmaxf(red[2], red[3]));
        for (int k = tid; k < group.positions; k += 128) { float e = fast_exp2(out[k] - top); out[k] = e; sum += e; }
        sum = warp_sum(sum);
        if ((tid & 31) == 0) red[4 + tid / 32] = sum;
        __syncthreads();
        float scale = 1.f / (red[4] + red[5] + red[6] + red[7]);
        for (int k = tid; k < group.positions; k += 128) out[k] *= scale;
    }
}
