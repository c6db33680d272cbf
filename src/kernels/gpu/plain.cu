// The network in 32-bit floats, written plainly: no tensor cores, no rounding of operands. It gives openai's tokens
// and judges the faster kernels. Matrices are row-major; a weight has a row for each output. Every sum has a fixed
// order that depends on neither the number of rows nor what they hold.
#pragma once
#include "tile.h"

DEV float plain_gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }

// The sum, or the largest, of one value a thread; for every thread. `scratch` holds a float a warp.
DEV float block_sum(float v, float* scratch, int warps) {
    for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
    __syncthreads();
    float total = 0;
    for (int w = 0; w < warps; ++w) total += scratch[w];
    return total;
}

DEV float block_max(float v, float* scratch, int warps) {
    for (int o = 16; o; o >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, o));
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
    __syncthreads();
    float most = scratch[0];
    for (int w = 1; w < warps; ++w) most = fmaxf(most, scratch[w]);
    return most;
}

// c = gelu(scale a b + bias) + residual, each part where it is asked for: a is (m, k), b (n, k), or (k, n) where
// `turned`, c (m, n). One problem a z of the grid, `*_batch` floats apart. Tiles of 64 x 64, 256 threads.
struct PlainGemm {
    const float *a, *b;
    float* c;
    const float *bias, *residual;
    long long lda, ldb, ldc, a_batch, b_batch, c_batch;
    int m, n, k, turned, gelu;
    float scale;
};

SMALL_KERNEL(256) plain_gemm(ARGUMENT PlainGemm p) {
    DYNAMIC(memory);
    float* as = (float*)memory;      // (16, 68): columns of a
    float* bs = as + 16 * 68;        // (16, 68): rows of b
    const float* a = p.a + blockIdx.z * p.a_batch;
    const float* b = p.b + blockIdx.z * p.b_batch;
    const long long c_at = blockIdx.z * p.c_batch;
    const int t = threadIdx.x, m0 = blockIdx.y * 64, n0 = blockIdx.x * 64, tm = t / 16 * 4, tn = t % 16 * 4;
    float sum[4][4] = {};
    for (int k0 = 0; k0 < p.k; k0 += 16) {
        for (int i = t; i < 1024; i += 256) {
            const int row = i / 16, k = i % 16;
            const bool in = m0 + row < p.m && k0 + k < p.k;
            as[k * 68 + row] = in ? a[(m0 + row) * p.lda + k0 + k] : 0.0f;
        }
        for (int i = t; i < 1024; i += 256) {
            const int col = p.turned ? i % 64 : i / 16, k = p.turned ? i / 64 : i % 16;
            const bool in = n0 + col < p.n && k0 + k < p.k;
            bs[k * 68 + col] = !in ? 0.0f : p.turned ? b[(k0 + k) * p.ldb + n0 + col] : b[(n0 + col) * p.ldb + k0 + k];
        }
        __syncthreads();
        for (int k = 0; k < 16; ++k) {
            float x[4], y[4];
            for (int i = 0; i < 4; ++i) x[i] = as[k * 68 + tm + i], y[i] = bs[k * 68 + tn + i];
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) sum[i][j] += x[i] * y[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int m = m0 + tm + i, n = n0 + tn + j;
            if (m >= p.m || n >= p.n) continue;
            const long long at = c_at + m * p.ldc + n;
            float v = p.scale * sum[i][j] + (p.bias ? p.bias[n] : 0.0f);
            if (p.gelu) v = plain_gelu(v);
            p.c[at] = p.residual ? v + p.residual[at] : v;
        }
}

// The same for the few rows of a step, k a multiple of 4: a warp an output, eight rows at a time.
// Grid (n / 8, m / 8), 256 threads.
struct PlainRows {
    const float *a, *b;
    float* c;
    const float *bias, *residual;
    int m, n, k, gelu;
};

SMALL_KERNEL(256) plain_rows(ARGUMENT PlainRows p) {
    const int lane = threadIdx.x % 32, n = blockIdx.x * 8 + threadIdx.x / 32, m0 = blockIdx.y * 8;
    if (n >= p.n) return;
    const float4* b = (const float4*)(p.b + (long long)n * p.k);
    float sum[8] = {};
    for (int k = lane; k < p.k / 4; k += 32) {
        const float4 w = b[k];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (m0 + i >= p.m) break;
            const float4 x = ((const float4*)(p.a + (long long)(m0 + i) * p.k))[k];
            sum[i] += w.x * x.x + w.y * x.y + w.z * x.z + w.w * x.w;
        }
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        float v = sum[i];
        for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
        if (lane != 0 || m0 + i >= p.m) continue;
        const long long at = (long long)(m0 + i) * p.n + n;
        v += p.bias ? p.bias[n] : 0.0f;
        if (p.gelu) v = plain_gelu(v);
        p.c[at] = p.residual ? v + p.residual[at] : v;
    }
}

// LayerNorm of row from[row], or of row where `from` is null. Grid rows, 128 threads.
struct PlainNorm {
    const float *x, *gamma, *beta;
    const int* from;
    float* y;
    long long d;
};

SMALL_KERNEL(128) plain_norm(ARGUMENT PlainNorm p) {
    DYNAMIC(memory);
    float* scratch = (float*)memory;
    const float* x = p.x + (long long)(p.from ? p.from[blockIdx.x] : (int)blockIdx.x) * p.d;
    float sum = 0, squares = 0;
    for (int i = threadIdx.x; i < p.d; i += 128) sum += x[i];
    const float mean = block_sum(sum, scratch, 4) / (float)p.d;
    for (int i = threadIdx.x; i < p.d; i += 128) squares += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / sqrtf(block_sum(squares, scratch, 4) / (float)p.d + 1e-5f);
    float* y = p.y + (long long)blockIdx.x * p.d;
    for (int i = threadIdx.x; i < p.d; i += 128) y[i] = (x[i] - mean) * scale * p.gamma[i] + p.beta[i];
}

// What a convolution of width 3, padded by one, sees at each output: (outputs, channels * 3), a channel's taps
// together. Grid (ceil(channels * 3 / 128), outputs), 128 threads.
struct PlainTaps {
    const float* x;
    float* y;
    long long channel_step, time_step;
    int channels, length, stride, unused;
};

SMALL_KERNEL(128) plain_taps(ARGUMENT PlainTaps p) {
    const int i = blockIdx.x * 128 + threadIdx.x, out = blockIdx.y;
    if (i >= p.channels * 3) return;
    const int time = out * p.stride + i % 3 - 1;
    const bool in = time >= 0 && time < p.length;
    p.y[(long long)out * p.channels * 3 + i] = in ? p.x[i / 3 * p.channel_step + time * p.time_step] : 0.0f;
}

// Softmax of each row of n, in place. Grid rows, 256 threads.
struct PlainSoftmax {
    float* x;
    long long n;
};

SMALL_KERNEL(256) plain_softmax(ARGUMENT PlainSoftmax p) {
    DYNAMIC(memory);
    float* scratch = (float*)memory;
    float* x = p.x + (long long)blockIdx.x * p.n;
    float most = -3.4e38f, sum = 0;
    for (int i = threadIdx.x; i < (int)p.n; i += 256) most = fmaxf(most, x[i]);
    most = block_max(most, scratch, 8);
    for (int i = threadIdx.x; i < (int)p.n; i += 256) sum += x[i] = expf(x[i] - most);
    sum = block_sum(sum, scratch, 8);
    for (int i = threadIdx.x; i < (int)p.n; i += 256) x[i] /= sum;
}

// A step's rows: their tokens' embeddings plus positions. Grid rows, 128 threads.
struct PlainEmbed {
    const int *token, *position;
    const float *tokens, *positions;
    float* x;
    long long d;
};

SMALL_KERNEL(128) plain_embed(ARGUMENT PlainEmbed p) {
    const float* token = p.tokens + (long long)p.token[blockIdx.x] * p.d;
    const float* position = p.positions + (long long)p.position[blockIdx.x] * p.d;
    float* x = p.x + (long long)blockIdx.x * p.d;
    for (int i = threadIdx.x; i < p.d; i += 128) x[i] = token[i] + position[i];
}

// y[to[row]] = x[from[row]], d floats each; a null table is the row itself, a negative place is left out.
// Grid rows, 128 threads.
struct PlainPlace {
    const float* x;
    float* y;
    const int *from, *to;
    int d, ldx;
};

SMALL_KERNEL(128) plain_place(ARGUMENT PlainPlace p) {
    const int row = blockIdx.x, from = p.from ? p.from[row] : row, to = p.to ? p.to[row] : row;
    if (from < 0 || to < 0) return;
    const float* x = p.x + (long long)from * p.ldx;
    float* y = p.y + (long long)to * p.d;
    for (int i = threadIdx.x; i < p.d; i += 128) y[i] = x[i];
}

// One query a row and head over the keys that the row sees. Key j lies `ld` floats apart, from the row's own start
// (`start[row]` floats into keys and values), or at `places[row * context + j]` where there are places.
// Grid (heads, rows), 256 threads, shared memory for `most` scores, 256 sums, 8 floats and a query.
struct PlainAttention {
    const float *q, *keys, *values;
    float* out;
    const int *count, *places;
    const long long* start;
    int d, head_dim, ldq, ld, context, most;
    float scale;
    int unused;
};

SMALL_KERNEL(256) plain_attention(ARGUMENT PlainAttention p) {
    DYNAMIC(memory);
    float* scores = (float*)memory;
    float* sums = scores + p.most;
    float* scratch = sums + 256;
    float* query = scratch + 8;
    const int head = blockIdx.x, row = blockIdx.y, t = threadIdx.x, lane = t % 32, n = p.count[row], w = p.head_dim;
    const long long start = p.start ? p.start[row] : 0;
    const float* keys = p.keys + start + head * w;
    const float* values = p.values + start + head * w;
    const int* places = p.places ? p.places + (long long)row * p.context : 0;
    for (int i = t; i < w; i += 256) query[i] = p.q[(long long)row * p.ldq + head * w + i];
    __syncthreads();
    float most = -3.4e38f;
    for (int j = t / 32; j < n; j += 8) {
        const float* key = keys + (places ? places[j] : j) * (long long)p.ld;
        float s = 0;
        for (int i = lane; i < w; i += 32) s += query[i] * key[i];
        for (int o = 16; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
        s *= p.scale;
        if (lane == 0) scores[j] = s;
        most = fmaxf(most, s);
    }
    most = block_max(most, scratch, 8);
    float sum = 0;
    for (int j = t; j < n; j += 256) sum += scores[j] = expf(scores[j] - most);
    sum = block_sum(sum, scratch, 8);
    // A thread a number and part of the keys; the parts are added up in order.
    const int parts = 256 / w, part = t / w, i = t % w;
    float v = 0;
    if (part < parts)
        for (int j = part; j < n; j += parts) v += scores[j] * values[(places ? places[j] : j) * (long long)p.ld + i];
    sums[t] = v;
    __syncthreads();
    if (t >= w) return;
    for (int other = 1; other < parts; ++other) v += sums[other * w + i];
    p.out[(long long)row * p.d + head * w + i] = v / sum;
}
