// Ranking of logits under a constraint: the best token, the best few, a draw, probabilities of given tokens. Two kernels:
// parts of 2048 tokens, then rows. Ties go to the lower token; only finite logits are candidates.
#pragma once
#include "step.h"

// Text (with added text) and timestamps are kept apart until it is known whether a timestamp is due.
enum { TEXT = 0, TIMES = 1, CLASSES = 2, PART_TOKENS = 2048, MOST = 16, LISTED = 128 };
struct Ranked { float logit; int token; };                   // token -1: none
struct PartSum { float max; int best; float sum, drawn; };    // sums of exponentials, relative to max; drawn: at the draw's scale

struct Rank {
    const float* logits;        // (asks, vocab)
    const Ask* asks; const u32 *sets, *listed;
    PartSum* parts;             // (asks, parts, CLASSES)
    Ranked* few;                // (asks, parts, 8 warps, CLASSES, MOST): BEST_K
    Said* said;                 // (asks, MOST)
    float* probability;         // (asks, LISTED)
    int vocab;                  // at most 65536
};

DEV bool better(const Ranked& a, const Ranked& b) { return a.logit > b.logit || (a.logit == b.logit && (u32)a.token < (u32)b.token); }
DEV Ranked none() { Ranked r; r.logit = LOWEST; r.token = -1; return r; }
DEV Ranked warp_best(Ranked a) {
    for (int o = 16; o; o >>= 1) {
        Ranked b;
        b.logit = __shfl_xor_sync(~0u, a.logit, o); b.token = __shfl_xor_sync(~0u, a.token, o);
        if (better(b, a)) a = b;
    }
    return a;
}
DEV bool within(const u32 (&range)[2], u32 token) { return token >= range[0] && token < range[1]; }
// The class that a token may be chosen from, or CLASSES.
DEV int class_of(const Rank& p, const Ask& ask, u32 token, float logit) {
    if (token >= (u32)p.vocab || !(fabsf(logit) < 3e38f)) return CLASSES;
    if (!(p.sets[ask.set + token / 32] >> (token & 31) & 1)) return CLASSES;
    if (within(ask.times, token)) return TIMES;
    return within(ask.text, token) || within(ask.added, token) ? TEXT : CLASSES;
}
// exp((logit - max) scale): a difference of 0 stays 0 however large the scale.
DEV float weight(float logit, float max, float scale) { return fast_exp2((logit - max) * scale * LOG2E); }

// The MOST best of a warp's tokens of one class, into memory, descending: as many as are asked for.
DEV void few_of(float (&logit)[8], const int (&of)[8], int kind, int first, u32 k, Ranked* out) {
    u32 taken = 0;
    for (u32 round = 0; round < k; ++round) {
        Ranked own = none();
        int at = 0;
#pragma unroll
        for (int u = 0; u < 8; ++u) {
            Ranked r; r.logit = logit[u]; r.token = first + u * 256;
            if (of[u] == kind && !(taken >> u & 1) && better(r, own)) { own = r; at = u; }
        }
        Ranked best = warp_best(own);
        if (best.token == own.token && own.token >= 0) taken |= 1u << at;
        if ((threadIdx.x & 31) == 0) out[round] = best;
        if (best.token < 0) break;
    }
}

// A block is (part, ask); a thread has every 256th of the part's tokens.
SMALL_KERNEL(256) rank_part(ARGUMENT Rank p) {
    SHARED Ranked tops[CLASSES][8];
    SHARED float sums[CLASSES][2][8];
    int a = blockIdx.y, part = blockIdx.x, tid = threadIdx.x, warp = tid / 32, lane = tid & 31, first = part * PART_TOKENS + tid;
    u32 start = part * PART_TOKENS;
    let_next_start();
    Ask ask = p.asks[a];
    wait_before();
    if (ask.row < 0 || ask.want == NOTHING) return;
    const float* logits = p.logits + (long long)a * p.vocab;
    float logit[8];
    int of[8];
#pragma unroll
    for (int u = 0; u < 8; ++u) { int token = first + u * 256; logit[u] = token < p.vocab ? logits[token] : 0.f; }
#pragma unroll
    for (int u = 0; u < 8; ++u) of[u] = class_of(p, ask, first + u * 256, logit[u]);
    // Most parts have no timestamp in them.
    int classes = ask.times[0] < start + PART_TOKENS && ask.times[1] > start ? CLASSES : 1;
    if (lane == 0) tops[TIMES][warp] = none();
    for (int c = 0; c < classes; ++c) {
        Ranked own = none();
#pragma unroll
        for (int u = 0; u < 8; ++u) { Ranked r; r.logit = logit[u]; r.token = first + u * 256; if (of[u] == c && better(r, own)) own = r; }
        own = warp_best(own);
        if (lane == 0) tops[c][warp] = own;
    }
    __syncthreads();
    for (int c = 0; c < CLASSES; ++c) {
        Ranked* few = p.few + ((((long long)a * gridDim.x + part) * 8 + warp) * CLASSES + c) * MOST;
        if (c >= classes) {
            if (lane == 0) { sums[c][0][warp] = sums[c][1][warp] = 0; if (ask.want == BEST_K) few[0] = none(); }
            continue;
        }
        Ranked top = none();
        for (int w = 0; w < 8; ++w) if (better(tops[c][w], top)) top = tops[c][w];
        float sum = 0, drawn = 0;
#pragma unroll
        for (int u = 0; u < 8; ++u) if (of[u] == c) {
            sum += weight(logit[u], top.logit, 1.f);
            if (ask.want == DRAW) drawn += weight(logit[u], top.logit, ask.scale);
        }
        sum = warp_sum(sum);
        if (ask.want == DRAW) drawn = warp_sum(drawn);
        if (lane == 0) { sums[c][0][warp] = sum; sums[c][1][warp] = drawn; }
        if (ask.want == BEST_K) few_of(logit, of, c, first, min(ask.k, (u32)MOST), few);
    }
    __syncthreads();
    if (tid >= CLASSES) return;
    PartSum s;
    Ranked top = none();
    for (int w = 0; w < 8; ++w) if (better(tops[tid][w], top)) top = tops[tid][w];
    s.max = top.logit; s.best = top.token; s.sum = s.drawn = 0;
    for (int w = 0; w < 8; ++w) { s.sum += sums[tid][0][w]; s.drawn += sums[tid][1][w]; }
    p.parts[((long long)a * gridDim.x + part) * CLASSES + tid] = s;
}

// What may be chosen, all in all.
struct Whole { float max; int best; float sum; int from; };   // from: TEXT where both classes count, else TIMES
DEV PartSum part_of(const Rank& p, int a, int parts, int part, int c) {
    PartSum s; s.max = LOWEST; s.best = -1; s.sum = s.drawn = 0;
    return part < parts ? p.parts[((long long)a * parts + part) * CLASSES + c] : s;
}
// A warp, a lane a part.
DEV Whole whole_of(const Rank& p, const Ask& ask, int a, int parts) {
    Ranked top[CLASSES];
    float sum[CLASSES];
    for (int c = 0; c < CLASSES; ++c) {
        PartSum s = part_of(p, a, parts, threadIdx.x & 31, c);
        Ranked r; r.logit = s.max; r.token = s.best;
        top[c] = warp_best(r);
        sum[c] = warp_sum(s.best < 0 ? 0.f : s.sum * weight(s.max, top[c].logit, 1.f));
    }
    bool due = ask.forced && top[TIMES].token >= 0 && top[TIMES].logit + logf(sum[TIMES]) > top[TEXT].logit;
    Whole all;
    all.from = due ? TIMES : TEXT;
    Ranked best = due || better(top[TIMES], top[TEXT]) ? top[TIMES] : top[TEXT];
    all.max = best.logit; all.best = best.token;
    all.sum = due ? sum[TIMES] : (top[TEXT].token < 0 ? 0.f : sum[TEXT] * weight(top[TEXT].logit, best.logit, 1.f)) + (top[TIMES].token < 0 ? 0.f : sum[TIMES] * weight(top[TIMES].logit, best.logit, 1.f));
    return all;
}
DEV Said say(const Whole& all, const Ranked& r) {
    Said s; s.token = r.token; s.logprob = r.token < 0 ? LOWEST : (r.logit - all.max) - logf(all.sum);
    return s;
}

// The best few of all warps' best few: in each round every thread offers the best of its lists.
DEV void merge(const Rank& p, const Ask& ask, const Whole& all, int a, int parts, Ranked (&tops)[8]) {
    int tid = threadIdx.x, lists = parts * 8 * CLASSES, head[4] = {0, 0, 0, 0};
    u32 k = min(ask.k, (u32)MOST);
    const Ranked* few = p.few + (long long)a * lists * MOST;
    for (u32 round = 0; round < MOST; ++round) {
        Ranked own = none();
        int of = 0;
        if (round < k)
#pragma unroll
            for (int u = 0; u < 4; ++u) {
                int list = tid + u * 256;
                if (list >= lists || list % CLASSES < all.from || head[u] >= (int)k) continue;
                Ranked r = few[(long long)list * MOST + head[u]];
                if (r.token < 0) { head[u] = MOST; continue; }
                if (better(r, own)) { own = r; of = u; }
            }
        Ranked best = warp_best(own);
        if ((tid & 31) == 0) tops[tid / 32] = best;
        __syncthreads();
        best = tops[0];
        for (int w = 1; w < 8; ++w) if (better(tops[w], best)) best = tops[w];
        if (own.token >= 0 && best.token == own.token) {
#pragma unroll
            for (int u = 0; u < 4; ++u) head[u] += u == of;
        }
        if (tid == 0) p.said[(long long)a * MOST + round] = say(all, best);
        __syncthreads();
    }
}

// Inverts the cumulative distribution in double precision: first the part, then in it the warp, the thread, the token.
DEV int step_over(const double* sums, int count, double& target) {
    int last = -1;
    for (int i = 0; i < count; ++i) {
        if (sums[i] <= 0) continue;
        last = i;
        if (sums[i] > target) return i;
        target -= sums[i];
    }
    if (last >= 0) target += sums[last];   // rounding left a rest: the last that can be drawn
    return last;
}
DEV float drawn_weight(const Rank& p, const Ask& ask, const Whole& all, int a, u32 token) {
    float logit = token < (u32)p.vocab ? p.logits[(long long)a * p.vocab + token] : 0.f;
    int c = class_of(p, ask, token, logit);
    return c == CLASSES || c < all.from ? 0.f : weight(logit, all.max, ask.scale);
}
DEV void draw(const Rank& p, const Ask& ask, const Whole& all, int a, int parts, double* sums) {
    SHARED double target;
    SHARED int part;
    int tid = threadIdx.x;
    if (tid < 32) {
        double v = 0;
        for (int c = all.from; c < CLASSES; ++c) { PartSum s = part_of(p, a, parts, tid, c); if (s.best >= 0) v += (double)s.drawn * weight(s.max, all.max, ask.scale); }
        sums[tid] = v;
    }
    __syncthreads();
    if (tid == 0) {
        double total = 0;
        for (int i = 0; i < 32; ++i) total += sums[i];
        target = ask.uniform * total;
        part = step_over(sums, 32, target);
    }
    __syncthreads();
    u32 first = part * PART_TOKENS + tid * 8;
    double own = 0;
    for (int u = 0; u < 8; ++u) own += drawn_weight(p, ask, all, a, first + u);
    __syncthreads();
    sums[tid] = part < 0 ? 0 : own;
    __syncthreads();
    if (tid > 0) return;
    Ranked r; r.token = all.best; r.logit = all.max;
    int thread = part < 0 ? -1 : step_over(sums, 256, target);
    if (thread >= 0) {
        double weights[8];
        for (int u = 0; u < 8; ++u) weights[u] = drawn_weight(p, ask, all, a, part * PART_TOKENS + thread * 8 + u);
        r.token = part * PART_TOKENS + thread * 8 + step_over(weights, 8, target);
        r.logit = p.logits[(long long)a * p.vocab + r.token];
    }
    p.said[(long long)a * MOST] = say(all, r);
}

// A block is an ask of 256 threads.
SMALL_KERNEL(256) rank_row(ARGUMENT Rank p) {
    SHARED Whole shared;
    SHARED Ranked tops[8];
    SHARED double sums[256];
    int a = blockIdx.x, tid = threadIdx.x, parts = ceil_div(p.vocab, PART_TOKENS);
    let_next_start();
    Ask ask = p.asks[a];
    wait_before();
    if (ask.row < 0 || ask.want == NOTHING) return;
    if (tid < 32) { Whole all = whole_of(p, ask, a, parts); if (tid == 0) shared = all; }
    __syncthreads();
    Whole all = shared;
    if (ask.want == BEST_K) merge(p, ask, all, a, parts, tops);
    if (ask.want == DRAW) draw(p, ask, all, a, parts, sums);
    if (ask.want == BEST && tid == 0) { Ranked r; r.token = all.best; r.logit = all.max; p.said[(long long)a * MOST] = say(all, r); }
    if (ask.want == PROBABILITIES && tid < (int)min(ask.k, (u32)LISTED)) {
        u32 token = p.listed[ask.tokens + tid];
        float logit = token < (u32)p.vocab ? p.logits[(long long)a * p.vocab + token] : __int_as_float(0x7fc00000);
        p.probability[(long long)a * LISTED + tid] = expf(logit - all.max) / all.sum;
    }
}
