// What a step of the decoder is told and what it says: shared, field by field, with the host.
#pragma once
#include "tile.h"

// One token of one text. An empty row of the bucket has token and store -1.
struct Row {
    int token, position;
    int table;   // row of `places`: where this text's positions lie
    int store;   // where this token's keys and values go: block * 64 + offset
};
// Rows of one window that lie next to each other, at most 8; none in an empty group.
struct Group { int first, rows, window, positions; };

enum { NOTHING = 0, BEST = 1, BEST_K = 2, DRAW = 3, PROBABILITIES = 4 };
// One question about one row's logits.
struct alignas(8) Ask {
    int row;                            // -1: an empty place of the bucket
    u32 want, k;
    u32 set;                            // first word of the bit set of allowed tokens
    u32 tokens;                         // PROBABILITIES: first of k listed tokens
    u32 forced;                         // a timestamp where all together are likelier than any one text token
    u32 text[2], times[2], added[2];    // from, to
    float scale;                        // DRAW: 1 / temperature
    u32 unused;
    double uniform;                     // DRAW: in 0..1
};
struct Said { int token; float logprob; };

// The decoder's linear layers. Weights lie in tiles of 64 outputs and 64 columns, each row of 128 bytes with its 16-byte
// pieces c at c ^ (row & 7): what the tensor cores of every chip read without conflicts.
enum { HALF = 0, GELU = 1, RESIDUAL = 2, QKV = 3, LOGITS = 4 };
struct StepGemm {
    const h16* weights; const float* bias;
    const h16* x;                                                      // rows of K numbers
    const float* stream; const float* gamma; const float* beta;       // or the residual stream, still without its LayerNorm,
    const Ask* pick;                                                   // of the rows that are asked about, null: of all
    h16* out; float* out32;
    h16 *keys, *values; const Row* rows;                               // QKV: this layer's text cache
    int N, K, B, D;
    int share;                                                         // blocks of 64 columns that one block of a cluster adds up
};

// Where 64 numbers of a head lie for a position of the text cache.
DEV long long cache_at(int place, int head, int heads) { return ((long long)(place >> 6) * heads + head) * 4096 + (place & 63) * 64; }

// One result goes where it belongs.
template <int WHAT> DEV void put(const StepGemm& p, int b, int n, float v, float old, int store) {
    if (WHAT == HALF) p.out[(long long)b * p.N + n] = to_half(v);
    if (WHAT == GELU) p.out[(long long)b * p.N + n] = to_half(gelu(v));
    if (WHAT == RESIDUAL) p.out32[(long long)b * p.N + n] = old + v;
    if (WHAT == LOGITS) p.out32[(long long)b * p.N + n] = v;
    if (WHAT == QKV) {
        if (n < p.D) { p.out[(long long)b * p.D + n] = to_half(v); return; }
        if (store < 0) return;
        int c = n < 2 * p.D ? n - p.D : n - 2 * p.D;
        (n < 2 * p.D ? p.keys : p.values)[cache_at(store, c / 64, p.D / 64) + c % 64] = to_half(v);
    }
}
