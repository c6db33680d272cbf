// The encoder's attention on Hopper: all positions of a window to all of them, heads 64 wide. One warpgroup fetches, the others
// take 64 queries each and keys in tiles of 128; their softmax runs under each other's products, by turns.
#pragma once
#include "tma.h"

// Maps of qkv (windows, positions, 3 D), boxes of 64 by 64 for queries, of 64 by 128 for keys and values.
struct EncAttn { h16* out; int positions, D, heads, windows, tiles; };   // tiles: of GROUPS * 64 queries in a window
template <int GROUPS, int STAGES> struct EncHeads {
    static const int KEYS = 128, BYTES = 1024 + GROUPS * 8192 + STAGES * 32768 + 256;
    const TensorMap *queries, *keys;
    const EncAttn& p;
    u32 sq, sk, sv, q_full, q_empty, k_full, k_empty, v_full, v_empty;
    int blocks, h, z, first;

    METHOD EncHeads(const TensorMap* queries, const TensorMap* keys, const EncAttn& p, u8* raw) : queries(queries), keys(keys), p(p) {
        sq = (shared_address(raw) + 1023) & ~1023u; sk = sq + GROUPS * 8192; sv = sk + STAGES * 16384;
        q_full = sv + STAGES * 16384; q_empty = q_full + 8; k_full = q_full + 16;
        k_empty = k_full + 8 * STAGES; v_full = k_empty + 8 * STAGES; v_empty = v_full + 8 * STAGES;
        blocks = ceil_div(p.positions, KEYS);
    }
    METHOD void init() const {
        if (threadIdx.x == 0) {
            barrier_init(q_full, 1); barrier_init(q_empty, GROUPS);
            for (int s = 0; s < STAGES; ++s) {
                barrier_init(k_full + 8 * s, 1); barrier_init(k_empty + 8 * s, GROUPS);
                barrier_init(v_full + 8 * s, 1); barrier_init(v_empty + 8 * s, GROUPS);
            }
            barrier_fence();
        }
        __syncthreads();
    }
    METHOD int tiles() const { return p.tiles * p.heads * p.windows; }
    METHOD void take(int t) {
        first = t % p.tiles * GROUPS * 64; h = t / p.tiles % p.heads; z = t / (p.tiles * p.heads);
    }
    METHOD void fetch(u32 full, u32 empty, u32 at, int what, int block, int it) const {
        int s = it % STAGES;
        barrier_wait(empty + 8 * s, (it / STAGES & 1) ^ 1);
        barrier_expect(full + 8 * s, 16384);
        tile_copy(at + s * 16384, keys, what * p.D + h * 64, block * KEYS, z, full + 8 * s);
    }
    METHOD void produce() {
        int it = 0, n = 0;
        for (int t = blockIdx.x; t < tiles(); t += gridDim.x, ++n) {
            take(t);
            barrier_wait(q_empty, (n & 1) ^ 1);
            barrier_expect(q_full, GROUPS * 8192);
            for (int w = 0; w < GROUPS; ++w) tile_copy(sq + w * 8192, queries, h * 64, first + w * 64, z, q_full);
            for (int j = 0; j < blocks; ++j, ++it) { fetch(k_full, k_empty, sk, 1, j, it); fetch(v_full, v_empty, sv, 2, j, it); }
        }
    }
};

// A warpgroup's 64 queries: a lane has two rows of them, a quarter of the columns.
template <int GROUPS> struct EncRows {
    float o[32], s[64], max[2], sum[2];
    u32 probability[32];
    int w, lane;

    METHOD void start() { max[0] = max[1] = LOWEST; sum[0] = sum[1] = 0; }
    // Whose turn it is to multiply.
    METHOD void turn() const { group_sync(1 + w, GROUPS * 128); }
    METHOD void pass() const { for (int o = 1; o < GROUPS; ++o) group_arrive(1 + (w + o) % GROUPS, GROUPS * 128); }
    METHOD void scores(u64 q, u64 k) {
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 4; ++i) wgmma(s, q + 2 * i, k + 2 * i, i);
        wgmma_commit();
    }
    METHOD void weigh(u64 v, int add) {
        wgmma_fence();
#pragma unroll
        for (int i = 0; i < 8; ++i) wgmma_registers(o, probability[4 * i], probability[4 * i + 1], probability[4 * i + 2], probability[4 * i + 3], v + 128 * i, add | i);
        wgmma_commit();
    }
    METHOD void mask(int left) {
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            int column = i * 8 + (lane & 3) * 2;
            if (column >= left) s[4 * i] = s[4 * i + 2] = LOWEST;
            if (column + 1 >= left) s[4 * i + 1] = s[4 * i + 3] = LOWEST;
        }
    }
    // Scores become probabilities; fade is what the sums so far are to be multiplied by.
    METHOD void softmax(float (&fade)[2]) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float top = s[2 * r], own = 0;
#pragma unroll
            for (int i = 0; i < 16; ++i) top = fmaxf(top, fmaxf(s[4 * i + 2 * r], s[4 * i + 2 * r + 1]));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1)); top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            top = fmaxf(top, max[r]);
            fade[r] = fast_exp2((max[r] - top) * SCORE_SCALE);
            max[r] = top;
            float shift = -top * SCORE_SCALE;
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                float x = fast_exp2(fmaf(s[4 * i + 2 * r], SCORE_SCALE, shift)), y = fast_exp2(fmaf(s[4 * i + 2 * r + 1], SCORE_SCALE, shift));
                own += x + y; s[4 * i + 2 * r] = x; s[4 * i + 2 * r + 1] = y;
            }
            sum[r] = sum[r] * fade[r] + own;
        }
    }
    METHOD void pack_probabilities() {
#pragma unroll
        for (int i = 0; i < 32; ++i) probability[i] = pack(s[2 * i], s[2 * i + 1]);
    }
    METHOD void fade_out(const float (&fade)[2]) {
#pragma unroll
        for (int i = 0; i < 8; ++i) { o[4 * i] *= fade[0]; o[4 * i + 1] *= fade[0]; o[4 * i + 2] *= fade[1]; o[4 * i + 3] *= fade[1]; }
    }
    METHOD void total() {
#pragma unroll
        for (int r = 0; r < 2; ++r) { sum[r] += __shfl_xor_sync(~0u, sum[r], 1); sum[r] += __shfl_xor_sync(~0u, sum[r], 2); }
    }
    METHOD void store(const EncAttn& p, int first, int h, int z) const {
        float a = 1.f / sum[0], b = 1.f / sum[1];
        int row = first + w * 64 + (threadIdx.x & 127) / 32 * 16 + lane / 4;
        h16* to = p.out + ((long long)z * p.positions + row) * p.D + h * 64 + (lane & 3) * 2;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (row < p.positions) *(u32*)(to + i * 8) = pack(o[4 * i] * a, o[4 * i + 1] * a);
            if (row + 8 < p.positions) *(u32*)(to + i * 8 + 8 * p.D) = pack(o[4 * i + 2] * b, o[4 * i + 3] * b);
        }
    }
};

template <int GROUPS, int STAGES> DEV void attend(EncHeads<GROUPS, STAGES>& heads, EncRows<GROUPS>& rows, int it, int n) {
    bool speaks = (threadIdx.x & 127) == 0;
    u64 q = descriptor(heads.sq + rows.w * 8192);
    auto key = [&](int i) { return descriptor(heads.sk + i % STAGES * 16384); };
    auto value = [&](int i) { return descriptor(heads.sv + i % STAGES * 16384); };
    auto wait = [&](u32 full, int i) { barrier_wait(full + 8 * (i % STAGES), i / STAGES & 1); };
    auto free = [&](u32 empty, int i) { if (speaks) barrier_arrive(empty + 8 * (i % STAGES)); };
    float fade[2];
    rows.start();
    barrier_wait(heads.q_full, n & 1);
    wait(heads.k_full, it);
    rows.turn();
    rows.scores(q, key(it));
    wgmma_wait<0>();
    free(heads.k_empty, it);
    if (heads.blocks == 1) rows.mask(heads.p.positions);
    rows.softmax(fade);
    rows.pack_probabilities();
    for (int j = 1; j < heads.blocks; ++j) {
        int now = it + j, before = now - 1;
        wait(heads.k_full, now);
        if (j > 1) rows.turn();
        rows.scores(q, key(now));
        wait(heads.v_full, before);
        rows.weigh(value(before), j > 1);
        rows.pass();
        wgmma_wait<1>();
        free(heads.k_empty, now);
        if (j == heads.blocks - 1) rows.mask(heads.p.positions - j * EncHeads<GROUPS, STAGES>::KEYS);
        rows.softmax(fade);
        wgmma_wait<0>();
        free(heads.v_empty, before);
        rows.pack_probabilities();
        rows.fade_out(fade);
    }
    if (speaks) barrier_arrive(heads.q_empty);
    int last = it + heads.blocks - 1;
    wait(heads.v_full, last);
    if (heads.blocks > 1) rows.turn();   // else it still has it
    rows.weigh(value(last), heads.blocks > 1);
    rows.pass();
    rows.total();
    wgmma_wait<0>();
    free(heads.v_empty, last);
}

template <int GROUPS, int STAGES, int GIVE, int TAKE> DEV void enc_attn(const TensorMap* queries, const TensorMap* keys, const EncAttn& p) {
    DYNAMIC(raw);
    EncHeads<GROUPS, STAGES> heads(queries, keys, p, raw);
    heads.init();
    let_next_start();
    int group = threadIdx.x / 128;
    if (group == 0) {
        give_registers<GIVE>();
        if (threadIdx.x == 0) { wait_before(); heads.produce(); }
    } else {
        take_registers<TAKE>();
        EncRows<GROUPS> rows;
        rows.w = group - 1; rows.lane = threadIdx.x & 31;
        // Before the first turn of each there is nobody to pass it on.
        for (int w = 1; w <= rows.w; ++w) group_arrive(w, GROUPS * 128);
        int it = 0, n = 0;
        for (int t = blockIdx.x; t < heads.tiles(); t += gridDim.x, ++n, it += heads.blocks) {
            heads.take(t);
            attend(heads, rows, it, n);
            rows.store(p, heads.first, heads.h, heads.z);
        }
    }
}
KERNEL(512) enc_attn_3(ARGUMENT TensorMap queries, ARGUMENT TensorMap keys, ARGUMENT EncAttn p) { enc_attn<3, 2, 32, 160>(&queries, &keys, p); }
KERNEL(384) enc_attn_2(ARGUMENT TensorMap queries, ARGUMENT TensorMap keys, ARGUMENT EncAttn p) { enc_attn<2, 3, 40, 232>(&queries, &keys, p); }
