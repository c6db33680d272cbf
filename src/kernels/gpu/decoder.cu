// A step of the decoder for few rows, on every chip from sm_80 on: embedding, LayerNorm and the linear layers for up to
// 8 rows, which are bound by reading the weights once.
#pragma once
#include "step.h"

// What the host says of a step, from memory that both see: `from` has rows, groups and questions one after another, which go
// into their tables; every row's own place, and places that have changed otherwise, go into the table of places. Grid by 256.
// Kernels behind the next one read the tables before they wait, so this one overlaps nothing, and the next, `embed`, lets nobody
// start before this one has ended.
struct Change { u32 at, place; };
struct Tell {
    const uint4* from; const Change* changes;
    uint4 *rows, *groups, *asks; u32* places;
    int n_rows, n_groups, n_asks, n_changes;   // n_asks: of 16 bytes, four a question
    long long context;
};
SMALL_KERNEL(256) tell(ARGUMENT Tell p) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < p.n_changes) { Change c = p.changes[i]; p.places[c.at] = c.place; }
    if (i >= p.n_rows + p.n_groups + p.n_asks) return;
    uint4 word = p.from[i];
    if (i < p.n_rows) {
        Row row = *(Row*)&word;
        p.rows[i] = word;
        if (row.store >= 0) p.places[row.table * p.context + row.position] = (u32)row.store;
    } else if (i < p.n_rows + p.n_groups) p.groups[i - p.n_rows] = word;
    else p.asks[i - p.n_rows - p.n_groups] = word;
}

// x[row] = tokens[token] + positions[position], the residual stream in single precision. A block a row; an empty row is zeros.
struct Embed { const Row* rows; const h16* tokens; const float* positions; float* x; int D; };
SMALL_KERNEL(128) embed(ARGUMENT Embed p) {
    int b = blockIdx.x;
    wait_before();
    let_next_start();
    Row row = p.rows[b];
    for (int c = threadIdx.x; c < p.D; c += 128) {
        float v = 0.f;
        if (row.token >= 0) v = to_float(p.tokens[(long long)row.token * p.D + c]) + p.positions[(long long)row.position * p.D + c];
        p.x[(long long)b * p.D + c] = v;
    }
}

// LayerNorm of the residual stream into half floats, for many rows, or for those that are asked about. A block a row; D is a
// multiple of 128 up to 1280.
struct DecNorm { const float* x; const float* gamma; const float* beta; h16* y; const Ask* pick; int D; };
SMALL_KERNEL(128) dec_ln(ARGUMENT DecNorm p) {
    SHARED float red[8];
    int tid = threadIdx.x, lane = tid & 31, warp = tid / 32, n = p.D / 128;
    float g[10], b[10], v[10], sum = 0, squares = 0;
    let_next_start();
#pragma unroll
    for (int i = 0; i < 10; ++i) if (i < n) { g[i] = p.gamma[i * 128 + tid]; b[i] = p.beta[i * 128 + tid]; }
    int row = p.pick ? p.pick[blockIdx.x].row : (int)blockIdx.x;
    wait_before();
    const float* x = p.x + (long long)(row < 0 ? 0 : row) * p.D + tid;
#pragma unroll
    for (int i = 0; i < 10; ++i) { v[i] = i < n ? x[i * 128] : 0.f; sum += v[i]; }
    sum = warp_sum(sum);
    if (lane == 0) red[warp] = sum;
    __syncthreads();
    float mean = (red[0] + red[1] + red[2] + red[3]) / p.D;
#pragma unroll
    for (int i = 0; i < 10; ++i) if (i < n) squares += (v[i] - mean) * (v[i] - mean);
    squares = warp_sum(squares);
    if (lane == 0) red[4 + warp] = squares;
    __syncthreads();
    float spread = rsqrtf((red[4] + red[5] + red[6] + red[7]) / p.D + 1e-5f);
    h16* y = p.y + (long long)blockIdx.x * p.D + tid;
#pragma unroll
    for (int i = 0; i < 10; ++i) if (i < n) y[i * 128] = to_half((v[i] - mean) * spread * g[i] + b[i]);
}

// y[b][n] = what(sum_k x[b][k] W[n][k] + bias[n]) for up to 8 rows b. A block takes tiles of 16 outputs; its 8 warps share K.
// Weights stream through a ring of chunks of CHUNK columns, of which the first are asked for before the kernel in front has
// ended. The rows stream beside them, or stay in shared memory behind their LayerNorm.
enum { STREAMED = 0, NORMED = 1 };
template <int CHUNK, int STAGES, int FROM> struct Small {
    static const int ROWS = 8, PITCH = CHUNK * 2 + 16, W = 16 * PITCH;
    const StepGemm& p;
    u8* raw; u8* kept; float* sums; float* norm;   // norm: gamma, then beta
    u32 ring, pitch;                               // pitch: bytes from row to row, streamed or kept
    int tid, warp, lane, chunks, mine, total, stage;

    METHOD Small(const StepGemm& p, u8* raw) : p(p), raw(raw) {
        tid = threadIdx.x; warp = tid / 32; lane = tid & 31;
        int tiles = ceil_div(p.N, 16);
        chunks = p.K / CHUNK;
        mine = (int)blockIdx.x < tiles ? ceil_div(tiles - blockIdx.x, gridDim.x) : 0;
        total = mine * chunks;
        ring = shared_address(raw);
        stage = W + (FROM == STREAMED ? p.B * PITCH : 0);
        int used = min(STAGES, ceil_div(tiles, gridDim.x) * chunks);
        sums = (float*)(raw + used * stage);
        kept = (u8*)(sums + 8 * p.B * 17);
        pitch = FROM == STREAMED ? PITCH : p.K * 2 + 16;
        // The last stage of a ring that is used whole is free until the rows are normed.
        norm = (float*)(used == STAGES ? raw + (STAGES - 1) * stage : kept + p.B * pitch);
    }
    METHOD int tile_of(int k) const { return blockIdx.x + k * gridDim.x; }
    // Pieces of 16 bytes: 128 of them are 16 rows of a packed tile.
    METHOD void load_weights(int i) {
        int tile = tile_of(i / chunks), block = i % chunks * (CHUNK / 64);
        u32 to = ring + i % STAGES * stage;
        const h16* from = p.weights + ((long long)(tile / 4) * (p.K / 64) + block) * 4096 + tile % 4 * 1024;
        for (int j = tid; j < CHUNK * 2; j += 256) {
            int k = j / 128, r = j % 128 / 8, c = j % 8;
            copy16(to + r * PITCH + k * 128 + (c ^ (r & 7)) * 16, from + (long long)k * 4096 + j % 128 * 8);
        }
    }
    METHOD void load_rows(int i) {
        int first = i % chunks * CHUNK;
        u32 to = ring + i % STAGES * stage + W;
        for (int j = tid; j < ROWS * (CHUNK / 8); j += 256) {
            int r = j / (CHUNK / 8), c = j % (CHUNK / 8);
            if (r < p.B) copy16(to + r * PITCH + c * 16, p.x + (long long)r * p.K + first + c * 8);
        }
    }
    METHOD void load_norm() {
        u32 to = shared_address(norm);
        for (int j = tid; j < p.K / 4; j += 256) { copy16(to + j * 16, p.gamma + j * 4); copy16(to + p.K * 4 + j * 16, p.beta + j * 4); }
        copy_commit();
    }
    // One row: the whole block takes its LayerNorm, in one meeting: the spread is that about 0, less the mean's.
    METHOD void norm_one(int row) {
        const float* x = p.stream + (long long)row * p.K;
        float v[5], s = 0, q = 0;
#pragma unroll
        for (int i = 0; i < 5; ++i) { int c = tid + i * 256; v[i] = c < p.K ? x[c] : 0.f; s += v[i]; q += v[i] * v[i]; }
        s = warp_sum(s); q = warp_sum(q);
        if (lane == 0) { sums[warp] = s; sums[8 + warp] = q; }
        copy_wait<STAGES - 1>();   // before a barrier: then everybody's part of gamma and beta is there
        __syncthreads();
        s = q = 0;
#pragma unroll
        for (int w = 0; w < 8; ++w) { s += sums[w]; q += sums[8 + w]; }
        float mean = s / p.K, spread = rsqrtf(fmaxf(q / p.K - mean * mean, 0.f) + 1e-5f);
#pragma unroll
        for (int i = 0; i < 5; ++i) {
            int c = tid + i * 256;
            if (c < p.K) *(h16*)(kept + c * 2) = to_half((v[i] - mean) * spread * norm[c] + norm[p.K + c]);
        }
    }
    // Several rows: a warp each.
    METHOD void norm_rows(int row) {
        float v[40], s = 0, q = 0;
        int n = p.K / 128;
        bool there = warp < p.B;
#pragma unroll
        for (int i = 0; i < 10; ++i) {
            float4 a = there && i < n ? *(const float4*)(p.stream + (long long)row * p.K + i * 128 + lane * 4) : make_float4(0, 0, 0, 0);
            v[4 * i] = a.x; v[4 * i + 1] = a.y; v[4 * i + 2] = a.z; v[4 * i + 3] = a.w;
            s += (a.x + a.y) + (a.z + a.w);
        }
        copy_wait<STAGES - 1>();
        __syncthreads();
        s = warp_sum(s) / p.K;
#pragma unroll
        for (int i = 0; i < 40; ++i) if (i / 4 < n) q += (v[i] - s) * (v[i] - s);
        float spread = rsqrtf(warp_sum(q) / p.K + 1e-5f);
        if (!there) return;
#pragma unroll
        for (int i = 0; i < 10; ++i) if (i < n) {
            int c = i * 128 + lane * 4;
            float4 g = *(const float4*)(norm + c), b = *(const float4*)(norm + p.K + c);
            u32 first = pack((v[4 * i] - s) * spread * g.x + b.x, (v[4 * i + 1] - s) * spread * g.y + b.y);
            u32 second = pack((v[4 * i + 2] - s) * spread * g.z + b.z, (v[4 * i + 3] - s) * spread * g.w + b.w);
            *(uint2*)(kept + warp * pitch + c * 2) = make_uint2(first, second);
        }
    }
    METHOD void multiply(int i, float (&acc)[4]) {
        u32 at = ring + i % STAGES * stage;
        u32 x = FROM == STREAMED ? at + W : shared_address(kept) + i % chunks * CHUNK * 2;
        u32 own = warp * (CHUNK / 4);   // bytes: a warp's share of the columns
        u32 aw = at + (lane & 15) * PITCH + own + (lane >> 4) * 16, ax = x + min(lane & 7, p.B - 1) * pitch + own + (lane >> 3 & 1) * 16;
#pragma unroll
        for (int k = 0; k < CHUNK / 128; ++k) {
            u32 a[4], b[2];
            ldmatrix4(a, aw + k * 32);
            ldmatrix2(b, ax + k * 32);
            mma(acc, a[0], a[1], a[2], a[3], b[0], b[1]);
        }
    }
    // The warps' parts of a tile meet; they are added up always in the same order.
    METHOD void hand_in(float (&acc)[4]) {
        int b = (lane & 3) * 2;
        float* r = sums + (warp * p.B + b) * 17 + lane / 4;
        if (b < p.B) { r[0] = acc[0]; r[8] = acc[2]; }
        if (b + 1 < p.B) { r[17] = acc[1]; r[25] = acc[3]; }
        acc[0] = acc[1] = acc[2] = acc[3] = 0;
    }
    METHOD float add_up(int b, int m) const {
        float v = 0;
#pragma unroll
        for (int w = 0; w < 8; ++w) v += sums[(w * p.B + b) * 17 + m];
        return v;
    }
};

template <int CHUNK, int STAGES, int FROM, int WHAT> DEV void small_gemm(const StepGemm& p) {
    typedef Small<CHUNK, STAGES, FROM> S;
    DYNAMIC(raw);
    S s(p, raw);
    let_next_start();
    if (FROM == NORMED) s.load_norm();
#pragma unroll
    for (int i = 0; i < STAGES - 1; ++i) { if (i < s.total) s.load_weights(i); if (FROM != STREAMED) copy_commit(); }
    // A thread's one output of each tile: row b, column m of the tile.
    int b = s.tid / 16, m = s.tid % 16, store = -1;
    bool owner = s.tid < 16 * S::ROWS && b < p.B;
    float bias = 0, old = 0;
    auto early = [&](int k) {
        int n = s.tile_of(k) * 16 + m;
        if (WHAT != LOGITS) bias = p.bias && n < p.N ? p.bias[n] : 0.f;
        if (WHAT == RESIDUAL && owner && n < p.N) old = p.out32[(long long)b * p.N + n];
    };
    if (WHAT == QKV && owner) store = p.rows[b].store;
    int row = p.B > 1 ? min(s.warp, p.B - 1) : 0;   // whose LayerNorm is this warp's
    if (FROM == NORMED && p.pick) row = max(p.pick[row].row, 0);
    wait_before();
    if (FROM == STREAMED) {
#pragma unroll
        for (int i = 0; i < STAGES - 1; ++i) { if (i < s.total) s.load_rows(i); copy_commit(); }
    }
    if (s.mine) early(0);
    if (FROM == NORMED) { if (p.B == 1) s.norm_one(row); else s.norm_rows(row); }
    float acc[4] = {0, 0, 0, 0};
    for (int i = 0; i < s.total; ++i) {
        copy_wait<STAGES - 2>();
        __syncthreads();
        if (i + STAGES - 1 < s.total) { s.load_weights(i + STAGES - 1); if (FROM == STREAMED) s.load_rows(i + STAGES - 1); }
        copy_commit();
        s.multiply(i, acc);
        if (i % s.chunks < s.chunks - 1) continue;
        s.hand_in(acc);
        __syncthreads();
        int k = i / s.chunks, n = s.tile_of(k) * 16 + m;
        if (owner && n < p.N) put<WHAT>(p, b, n, s.add_up(b, m) + bias, old, store);
        if (k + 1 < s.mine) early(k + 1);
    }
}
// The ring is as deep as the chip's shared memory allows: 99 kB a block on some, 227 kB on others. A deeper one than four stages
// is slower: what it asks for early is in the way of what the kernel in front still waits for.
#if __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
#define SMALL_STAGES 4
#else
#define SMALL_STAGES 3
#endif
#define SMALL_GEMM(name, CHUNK, STAGES, FROM, WHAT) SMALL_KERNEL(256) name(ARGUMENT StepGemm p) { small_gemm<CHUNK, STAGES, FROM, WHAT>(p); }
#define SMALL_GEMMS(CHUNK) \
    SMALL_GEMM(small_##CHUNK##_qkv, CHUNK, SMALL_STAGES, NORMED, QKV) \
    SMALL_GEMM(small_##CHUNK##_half, CHUNK, SMALL_STAGES, NORMED, HALF) \
    SMALL_GEMM(small_##CHUNK##_gelu, CHUNK, SMALL_STAGES, NORMED, GELU) \
    SMALL_GEMM(small_##CHUNK##_residual, CHUNK, SMALL_STAGES, STREAMED, RESIDUAL) \
    SMALL_GEMM(small_##CHUNK##_logits, CHUNK, SMALL_STAGES, NORMED, LOGITS)
SMALL_GEMMS(384)
SMALL_GEMMS(512)
SMALL_GEMMS(640)
// Longer chunks, of which a block has few, where there is room for them.
#if __CUDA_ARCH__ == 900
SMALL_GEMM(small_1280_residual, 1280, 3, STREAMED, RESIDUAL)
#endif
