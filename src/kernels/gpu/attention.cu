// Self-attention of the decoder over text caches in blocks (paged KV), for rows of any text at any position.
#pragma once
#include "step.h"

// q (rows, D) -> out (rows, D). A block is (head, row) of 4 warps; 8 lanes share a key, so 16 keys are looked at together, and
// four times as many are in flight. Softmax is flash: each group of lanes keeps its maximum, sum and weighted values.
struct SelfAttn { const h16* q; const h16 *keys, *values; h16* out; const Row* rows; const u32* places; int D, context; };

struct Flash8 {   // one group's part: 8 dimensions a lane
    float o[8], max, sum;
    METHOD Flash8() : max(LOWEST), sum(0) {
#pragma unroll
        for (int i = 0; i < 8; ++i) o[i] = 0;
    }
    METHOD void add(const float (&score)[4], const uint4 (&value)[4]) {
        float top = fmaxf(fmaxf(score[0], score[1]), fmaxf(score[2], score[3])), now = fmaxf(max, top), fade = fast_exp2(max - now);
        max = now; sum *= fade;
#pragma unroll
        for (int i = 0; i < 8; ++i) o[i] *= fade;
#pragma unroll
        for (int u = 0; u < 4; ++u) {
            float e = score[u] > LOWEST ? fast_exp2(score[u] - max) : 0.f;
            const u32* w = (const u32*)&value[u];
            sum += e;
#pragma unroll
            for (int i = 0; i < 4; ++i) { o[2 * i] = fmaf(e, low(w[i]), o[2 * i]); o[2 * i + 1] = fmaf(e, high(w[i]), o[2 * i + 1]); }
        }
    }
};
DEV float dot8(const float (&q)[8], const uint4& key) {
    const u32* w = (const u32*)&key;
    float a = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) { a = fmaf(q[2 * i], low(w[i]), a); a = fmaf(q[2 * i + 1], high(w[i]), a); }
    for (int o = 1; o < 8; o <<= 1) a += __shfl_xor_sync(~0u, a, o);
    return a;
}

SMALL_KERNEL(128) self_attn(ARGUMENT SelfAttn p) {
    SHARED float max[16], sum[16], o[16][64];
    int h = blockIdx.x, b = blockIdx.y, heads = gridDim.x, tid = threadIdx.x, group = tid / 8, part = tid % 8;
    let_next_start();
    Row row = p.rows[b];
    const u32* places = p.places + (long long)(row.token < 0 ? 0 : row.table) * p.context;
    int keys = row.token < 0 ? 0 : row.position + 1;
    int place[4];
    auto look_up = [&](int first) {
#pragma unroll
        for (int u = 0; u < 4; ++u) { int key = first + u * 16 + group; place[u] = key < keys ? places[key] : 0; }
    };
    look_up(0);
    wait_before();
    uint4 own = *(const uint4*)(p.q + (long long)b * p.D + h * 64 + part * 8);
    const u32* w = (const u32*)&own;
    float q[8];
#pragma unroll
    for (int i = 0; i < 4; ++i) { q[2 * i] = low(w[i]) * SCORE_SCALE; q[2 * i + 1] = high(w[i]) * SCORE_SCALE; }
    Flash8 flash;
    for (int first = 0; first < keys; first += 64) {
        uint4 key[4], value[4];
        float score[4];
#pragma unroll
        for (int u = 0; u < 4; ++u) {
            long long at = cache_at(place[u], h, heads) + part * 8;
            key[u] = *(const uint4*)(p.keys + at); value[u] = *(const uint4*)(p.values + at);
        }
        bool there[4];
#pragma unroll
        for (int u = 0; u < 4; ++u) there[u] = first + u * 16 + group < keys;
        look_up(first + 64);
#pragma unroll
        for (int u = 0; u < 4; ++u) { float s = dot8(q, key[u]); score[u] = there[u] ? s : LOWEST; }
        // A place that is not this text's may hold anything, also what is no number.
#pragma unroll
        for (int u = 0; u < 4; ++u) if (!there[u]) value[u] = make_uint4(0, 0, 0, 0);
        flash.add(score, value);
    }
    if (part == 0) { max[group] = flash.max; sum[group] = flash.sum; }
#pragma unroll
    for (int i = 0; i < 8; ++i) o[group][part * 8 + i] = flash.o[i];
    __syncthreads();
    if (tid >= 64) return;
    float top = LOWEST, a = 0, total = 0;
    for (int g = 0; g < 16; ++g) top = fmaxf(top, max[g]);
    for (int g = 0; g < 16; ++g) { float f = fast_exp2(max[g] - top); total += sum[g] * f; a += o[g][tid] * f; }
    p.out[(long long)b * p.D + h * 64 + tid] = to_half(keys ? a / total : 0.f);
}
