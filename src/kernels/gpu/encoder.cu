// The encoder's own small kernels, and its attention for chips other than Hopper.
#pragma once
#include "tile.h"

// mel (windows, n_mels, frames) -> (windows, 1 + frames + 1, n_mels), padded with a frame of zeros on either side; the same
// two rows of what the first convolution gives are cleared. Grid (frames / 32 + 1, windows), 256 threads.
struct Frames { const h16* mel; h16 *out, *next; int frames, n_mels, D; };
SMALL_KERNEL(256) mel_frames(ARGUMENT Frames p) {
    SHARED h16 turned[128][34];
    let_next_start();
    wait_before();
    int first = blockIdx.x * 32, z = blockIdx.y, tid = threadIdx.x, lane = tid & 31;
    const h16* mel = p.mel + (long long)z * p.n_mels * p.frames;
    h16 *out = p.out + (long long)z * (p.frames + 2) * p.n_mels, *next = p.next + (long long)z * (p.frames + 2) * p.D;
    for (int m = tid / 32; m < p.n_mels; m += 8) turned[m][lane] = first + lane < p.frames ? mel[(long long)m * p.frames + first + lane] : (h16)0;
    __syncthreads();
    for (int i = tid; i < 32 * p.n_mels; i += 256) {
        int f = i / p.n_mels, m = i % p.n_mels;
        if (first + f < p.frames) out[(long long)(1 + first + f) * p.n_mels + m] = turned[m][f];
    }
    if (blockIdx.x > 0) return;
    for (int i = tid; i < p.n_mels; i += 256) out[i] = out[(long long)(p.frames + 1) * p.n_mels + i] = 0;
    for (int i = tid; i < p.D; i += 256) next[i] = next[(long long)(p.frames + 1) * p.D + i] = 0;
}

// x (windows, positions, D) += table (positions, D). Grid (count / 2048 + 1), 256 threads of 8 numbers.
struct Positions { h16* x; const h16* table; long long count, period; };
SMALL_KERNEL(256) add_positions(ARGUMENT Positions p) {
    long long i = (blockIdx.x * 256ll + threadIdx.x) * 8;
    let_next_start();
    wait_before();
    if (i >= p.count) return;
    uint4 a = *(const uint4*)(p.x + i), b = *(const uint4*)(p.table + i % p.period);
    u32 *x = (u32*)&a, *y = (u32*)&b;
    for (int k = 0; k < 4; ++k) x[k] = pack(low(x[k]) + low(y[k]), high(x[k]) + high(y[k]));
    *(uint4*)(p.x + i) = a;
}

// LayerNorm of rows, a warp each, 8 rows a block; D is a multiple of 128 up to 1280.
struct EncNorm { const h16* x; const float *gamma, *beta; h16* y; float* scales; int rows, D; };   // scales: where y is bytes
// Four neighbouring numbers of every 128 are a lane's.
DEV void norm_row(const EncNorm& p, int row, float (&v)[40]) {
    int lane = threadIdx.x & 31, n = p.D / 128;
    const h16* x = p.x + (long long)row * p.D + lane * 4;
    uint2 raw[10];
    float sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < 10; ++i) raw[i] = i < n ? *(const uint2*)(x + i * 128) : make_uint2(0, 0);
#pragma unroll
    for (int i = 0; i < 10; ++i) {
        v[4 * i] = low(raw[i].x); v[4 * i + 1] = high(raw[i].x); v[4 * i + 2] = low(raw[i].y); v[4 * i + 3] = high(raw[i].y);
        sum += (v[4 * i] + v[4 * i + 1]) + (v[4 * i + 2] + v[4 * i + 3]);
    }
    float mean = warp_sum(sum) / p.D;
#pragma unroll
    for (int i = 0; i < 40; ++i) if (i / 4 < n) squares += (v[i] - mean) * (v[i] - mean);
    float spread = rsqrtf(warp_sum(squares) / p.D + 1e-5f);
#pragma unroll
    for (int i = 0; i < 10; ++i) if (i < n) {
        float4 g = *(const float4*)(p.gamma + i * 128 + lane * 4), b = *(const float4*)(p.beta + i * 128 + lane * 4);
        v[4 * i] = (v[4 * i] - mean) * spread * g.x + b.x; v[4 * i + 1] = (v[4 * i + 1] - mean) * spread * g.y + b.y;
        v[4 * i + 2] = (v[4 * i + 2] - mean) * spread * g.z + b.z; v[4 * i + 3] = (v[4 * i + 3] - mean) * spread * g.w + b.w;
    }
}
SMALL_KERNEL(256) enc_ln(ARGUMENT EncNorm p) {
    int row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x & 31, n = p.D / 128;
    let_next_start();
    wait_before();
    if (row >= p.rows) return;
    float v[40];
    norm_row(p, row, v);
    h16* y = p.y + (long long)row * p.D + lane * 4;
#pragma unroll
    for (int i = 0; i < 10; ++i) if (i < n) *(uint2*)(y + i * 128) = make_uint2(pack(v[4 * i], v[4 * i + 1]), pack(v[4 * i + 2], v[4 * i + 3]));
}

// Attention of all positions of a window to all of them: qkv (windows, positions, 3 D) -> out (windows, positions, D). Flash:
// a block is (64 queries, head, window) of 4 warps, 16 queries each; keys and values come in tiles of 64, one ahead.
struct EncFlash { const h16* qkv; h16* out; int positions, D; };
struct Flash {
    static const int PITCH = 144, TILE = 64 * PITCH;   // bytes of a row and of 64 rows
    const EncFlash& p;
    const h16* qkv;
    u32 q_at, kv_at;   // kv_at: two stages of keys, then values
    int first, h, warp, lane, tiles;
    u32 q[4][4];
    float o[8][4], max[2], sum[2];

    METHOD Flash(const EncFlash& p, u8* raw) : p(p) {
        first = blockIdx.x * 64; h = blockIdx.y; warp = threadIdx.x / 32; lane = threadIdx.x & 31;
        tiles = ceil_div(p.positions, 64);
        qkv = p.qkv + (long long)blockIdx.z * p.positions * 3 * p.D + h * 64;
        q_at = shared_address(raw); kv_at = q_at + TILE;
        max[0] = max[1] = LOWEST; sum[0] = sum[1] = 0;
#pragma unroll
        for (int d = 0; d < 8; ++d) o[d][0] = o[d][1] = o[d][2] = o[d][3] = 0;
    }
    METHOD void load(u32 to, int from, int what) {
        for (int i = threadIdx.x; i < 512; i += 128) {
            int r = i / 8, c = i % 8, position = from + r;
            bool there = position < p.positions;
            copy16_or_zero(to + r * PITCH + c * 16, qkv + (long long)(there ? position : 0) * 3 * p.D + what * p.D + c * 8, there);
        }
    }
    METHOD void load_keys_and_values(int tile) {
        u32 to = kv_at + tile % 2 * 2 * TILE;
        load(to, tile * 64, 1);
        load(to + TILE, tile * 64, 2);
    }
    METHOD void keep_query() {
        u32 at = q_at + (warp * 16 + (lane & 15)) * PITCH + (lane >> 4) * 16;
#pragma unroll
        for (int k = 0; k < 4; ++k) ldmatrix4(q[k], at + k * 32);
    }
    METHOD void scores(int tile, float (&s)[8][4]) {
        u32 at = kv_at + tile % 2 * 2 * TILE + (lane & 7) * PITCH + (lane >> 3) * 16;
        int left = p.positions - tile * 64;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                u32 b[4];
                ldmatrix4(b, at + j * 8 * PITCH + k * 64);
                mma(s[j], q[2 * k][0], q[2 * k][1], q[2 * k][2], q[2 * k][3], b[0], b[1]);
                mma(s[j], q[2 * k + 1][0], q[2 * k + 1][1], q[2 * k + 1][2], q[2 * k + 1][3], b[2], b[3]);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) s[j][i] = j * 8 + (lane & 3) * 2 + (i & 1) < left ? s[j][i] * SCORE_SCALE : LOWEST;
        }
    }
    METHOD void softmax(float (&s)[8][4]) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float top = LOWEST, own = 0;
#pragma unroll
            for (int j = 0; j < 8; ++j) top = fmaxf(top, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1)); top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            float now = fmaxf(max[r], top), fade = fast_exp2(max[r] - now);
            max[r] = now;
#pragma unroll
            for (int j = 0; j < 8; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i) { s[j][2 * r + i] = fast_exp2(s[j][2 * r + i] - now); own += s[j][2 * r + i]; }
            sum[r] = sum[r] * fade + own;
#pragma unroll
            for (int d = 0; d < 8; ++d) { o[d][2 * r] *= fade; o[d][2 * r + 1] *= fade; }
        }
    }
    METHOD void weigh(int tile, const float (&s)[8][4]) {
        u32 at = kv_at + tile % 2 * 2 * TILE + TILE + ((lane & 7) + (lane >> 3 & 1) * 8) * PITCH + (lane >> 4) * 16;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            u32 a[4] = {pack(s[2 * k][0], s[2 * k][1]), pack(s[2 * k][2], s[2 * k][3]), pack(s[2 * k + 1][0], s[2 * k + 1][1]), pack(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
            for (int d = 0; d < 4; ++d) {
                u32 b[4];
                ldmatrix4_transposed(b, at + k * 16 * PITCH + d * 32);
                mma(o[2 * d], a[0], a[1], a[2], a[3], b[0], b[1]);
                mma(o[2 * d + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
            }
        }
    }
    METHOD void store() {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float l = sum[r] + __shfl_xor_sync(~0u, sum[r], 1);
            l = 1.f / (l + __shfl_xor_sync(~0u, l, 2));
            int position = first + warp * 16 + lane / 4 + r * 8;
            if (position >= p.positions) continue;
            h16* to = p.out + ((long long)blockIdx.z * p.positions + position) * p.D + h * 64 + (lane & 3) * 2;
#pragma unroll
            for (int d = 0; d < 8; ++d) *(u32*)(to + d * 8) = pack(o[d][2 * r] * l, o[d][2 * r + 1] * l);
        }
    }
};
DEV void attend(const EncFlash& p) {
    DYNAMIC(raw);
    Flash flash(p, raw);
    let_next_start();
    wait_before();
    flash.load(flash.q_at, flash.first, 0);
    flash.load_keys_and_values(0);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    flash.keep_query();
    for (int tile = 0; tile < flash.tiles; ++tile) {
        if (tile + 1 < flash.tiles) flash.load_keys_and_values(tile + 1);
        copy_commit();
        float s[8][4];
        flash.scores(tile, s);
        flash.softmax(s);
        flash.weigh(tile, s);
        copy_wait<0>();
        __syncthreads();
    }
    flash.store();
}
SMALL_KERNEL(128) enc_flash(ARGUMENT EncFlash p) { attend(p); }
