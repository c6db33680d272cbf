// The decoder's kernels against the same in double precision.
#pragma once
#include "runtime.h"

// Rows of texts in shuffled places: row b is at position `from` + b % 3 of a text whose blocks lie anywhere in the cache.
struct Texts {
    static const int CONTEXT = 448;
    Buffer<Row> rows;
    Buffer<u32> places;
    int blocks;
    Texts(int count, int from) : rows(count), places((size_t)count * CONTEXT) {
        int each = (from + 3 + 63) / 64;
        blocks = count * each;
        for (int b = 0; b < count; ++b) {
            for (int j = 0; j < each * 64 && j < CONTEXT; ++j) places[(size_t)b * CONTEXT + j] = (u32)((b * 7 + (j / 64) * count + 3) % blocks * 64 + j % 64);
            int position = from + b % 3;
            rows[b] = {b, position, count - 1 - b, 0};
        }
        for (int b = 0; b < count; ++b) rows[b].store = (int)places[(size_t)rows[b].table * CONTEXT + rows[b].position];
    }
};
inline size_t cache_place(u32 place, int head, int heads) { return ((size_t)(place / 64) * heads + head) * 4096 + place % 64 * 64; }

inline Buffer<h16> packed(Buffer<float>& w, int N, int K) {
    Buffer<h16> to = unwritten((size_t)ceil_div(N, 64) * 64 * K);
    LAUNCH(pack_tiles, {ceil_div(N, 64) * (K / 64), 1, 1}, 256, 0, 1, Pack{w.at(), to.at(), N, K});
    to.back();
    return to;
}
inline std::vector<double> layer_norm(const float* x, int D, const float* gamma, const float* beta) {
    double mean = 0, spread = 0;
    std::vector<double> y(D);
    for (int c = 0; c < D; ++c) mean += x[c];
    mean /= D;
    for (int c = 0; c < D; ++c) spread += (x[c] - mean) * (x[c] - mean);
    spread = 1 / sqrt(spread / D + 1e-5);
    for (int c = 0; c < D; ++c) y[c] = (x[c] - mean) * spread * gamma[c] + beta[c];
    return y;
}

// What a linear layer of a step has around it.
struct Layer {
    int what, B, N, K, D;
    bool normed;
    Texts texts;
    Buffer<float> w, bias, stream, gamma, beta, out32, before;
    Buffer<h16> tiles, x, out, keys, values;
    Buffer<Ask> pick;   // rows from the last to the first
    Layer(int what, int B, int N, int K, int D, bool normed)
        : what(what), B(B), N(N), K(K), D(D), normed(normed), texts(B, 70), w(floats((size_t)N * K, 0, .05f)), bias(floats(N, 0, .1f)), stream(floats((size_t)B * K, .3f, 2)),
          gamma(floats(K, 1, .1f)), beta(floats(K, 0, .1f)), out32(floats((size_t)B * N, 0, 1)), before(std::vector<float>(out32.host)), tiles(packed(w, N, K)), x(halves((size_t)B * K, 1)),
          out(unwritten((size_t)B * N)), keys(unwritten((size_t)texts.blocks * D * 64)), values(unwritten((size_t)texts.blocks * D * 64)), pick(B) {
        for (int b = 0; b < B; ++b) pick[b].row = B - 1 - b;
    }
    StepGemm arguments(int share) {
        return {tiles.at(), what == LOGITS ? nullptr : bias.at(), x.at(), stream.at(), gamma.at(), beta.at(), what == LOGITS && normed ? pick.at() : nullptr, out.at(), out32.at(), keys.at(), values.at(), texts.rows.at(), N, K, B, D, share};
    }
    double got(int b, int n) {
        if (what == RESIDUAL || what == LOGITS) return out32[(size_t)b * N + n];
        if (what != QKV) return number(out[(size_t)b * N + n]);
        if (n < D) return number(out[(size_t)b * D + n]);
        int c = (n - D) % D;
        return number((n < 2 * D ? keys : values)[cache_place((u32)texts.rows[b].store, c / 64, D / 64) + c % 64]);
    }
    void judge(const std::string& name) {
        Verdict v;
        for (Buffer<h16>* b : {&out, &keys, &values}) b->back();
        out32.back();
        for (int b = 0; b < B; ++b) {
            std::vector<double> row(K);
            if (normed) row = layer_norm(&stream[(size_t)(what == LOGITS ? B - 1 - b : b) * K], K, gamma.host.data(), beta.host.data());
            else for (int k = 0; k < K; ++k) row[k] = number(x[(size_t)b * K + k]);
            for (int n = b % 2; n < N; n += 2) {
                double s = what == LOGITS ? 0 : bias[n];
                for (int k = 0; k < K; ++k) s += row[k] * number(to_half(w[(size_t)n * K + k]));
                if (what == GELU) s = exact_gelu(s);
                if (what == RESIDUAL) s += before[(size_t)b * N + n];
                v.add(got(b, n), s);
            }
        }
        report(name, v, 6e-4);
    }
};
inline const char* name_of(int what) { return std::vector<const char*>{"half", "gelu", "residual", "qkv", "logits"}[(size_t)what]; }
inline std::string title(const char* kernel, int what, int B, int N, int K) {
    char text[96];
    snprintf(text, sizeof text, "%s %s, %d rows, %d x %d", kernel, name_of(what), B, N, K);
    return text;
}

inline int small_shared(int chunk, int stages, int what, int B, int N, int K, int blocks) {
    int pitch = chunk * 2 + 16, stage = (16 + (what == RESIDUAL ? B : 0)) * pitch, kept = what == RESIDUAL ? 0 : B * (K * 2 + 16);
    int used = min(stages, ceil_div(ceil_div(N, 16), blocks) * (K / chunk));
    return used * stage + 8 * B * 17 * 4 + kept + (what == RESIDUAL || used == stages ? 0 : K * 8);
}
typedef void (*StepKernel)(const StepGemm);
#define SMALL_KERNELS(C) {{"small_" #C "_half", small_##C##_half}, {"small_" #C "_gelu", small_##C##_gelu}, {"small_" #C "_residual", small_##C##_residual}, {"small_" #C "_qkv", small_##C##_qkv}, {"small_" #C "_logits", small_##C##_logits}}
struct NamedStep { const char* name; StepKernel kernel; };
inline NamedStep small_kernel(int chunk, int what) {
    static const NamedStep all[3][5] = {SMALL_KERNELS(384), SMALL_KERNELS(512), SMALL_KERNELS(640)};
    if (chunk == 1280) return {"small_1280_residual", small_1280_residual};
    return all[(chunk - 384) / 128][what];
}
inline void run_small(int chunk, int what, Layer& l, int blocks, int stages) {
    NamedStep k = small_kernel(chunk, what);
    blocks = min(blocks, ceil_div(l.N, 16));
    launch(k.name, k.kernel, {blocks, 1, 1}, 256, max(small_shared(chunk, stages, what, l.B, l.N, l.K, blocks), card().on() && stages > 3 ? 116 << 10 : 0), 1, l.arguments(0));
}
inline void check_small(int chunk, int what, int B, int N, int K, int D) {
    Layer l(what, B, N, K, D, what != RESIDUAL);
    run_small(chunk, what, l, 3, card().stages());
    l.judge(title(("small " + std::to_string(chunk)).c_str(), what, B, N, K));
}
inline void run_tile(int what, Layer& l) {
    static const NamedStep all[5] = {{"tile_half", tile_half}, {"tile_gelu", tile_gelu}, {"tile_residual", tile_residual}, {"tile_qkv", tile_qkv}, {"tile_logits", tile_logits}};
    launch(all[what].name, all[what].kernel, {ceil_div(l.N, 64), ceil_div(l.B, 64), 1}, 256, 3 * 128 * 80, 1, l.arguments(0));
}
inline void check_small_wide(int B, int N, int K) {
    Layer l(RESIDUAL, B, N, K, 1280, false);
    run_small(1280, RESIDUAL, l, 3, 3);
    l.judge(title("small 1280", RESIDUAL, B, N, K));
}
inline void check_tile(int what, int B, int N, int K, int D) {
    Layer l(what, B, N, K, D, false);
    run_tile(what, l);
    l.judge(title("tile", what, B, N, K));
}

inline TensorMap map2(Buffer<h16>& b, u64 dx, u64 dy, int box_y) { return {(const u8*)b.at(), 2, 2, {dx, dy, 1}, {dx, dx * dy}, 64, box_y}; }
struct MidShape { int rows, stages, logit_stages; };
inline MidShape mid_shape(int B) {
    static const MidShape all[5] = {{16, 8, 8}, {32, 8, 8}, {64, 4, 6}, {128, 4, 4}, {256, 3, 3}};
    for (const MidShape& s : all) if (B <= s.rows) return s;
    exit(4);
}
inline int mid_split(int what) { return what == LOGITS ? 1 : what == QKV || what == GELU ? 2 : 5; }
inline int mid_shared(const MidShape& s, int what, int share) {
    bool kept = what != LOGITS;
    int stages = kept ? s.stages : s.logit_stages, stage = (kept ? 0 : 8192) + s.rows * 128;
    int bytes = 1024 + (kept ? share * 8192 : 0) + stages * stage + 16 * stages + 8 * share + 64;
    return max(bytes, 1024 + s.rows * 68 * 4 + 64);
}
typedef void (*MidKernel)(const TensorMap, const StepGemm);
struct NamedMid { const char* name; MidKernel kernel; };
#define MID_KERNELS(R) {{"mid_" #R "_half", mid_##R##_half}, {"mid_" #R "_gelu", mid_##R##_gelu}, {"mid_" #R "_residual", mid_##R##_residual}, {"mid_" #R "_qkv", mid_##R##_qkv}, {"mid_" #R "_logits", mid_##R##_logits}}
inline void run_mid(int what, Layer& l) {
    static const NamedMid all[5][5] = {MID_KERNELS(16), MID_KERNELS(32), MID_KERNELS(64), MID_KERNELS(128), MID_KERNELS(256)};
    MidShape s = mid_shape(l.B);
    int split = mid_split(what), share = ceil_div(l.K / 64, split), which = 0;
    while (16 << which < s.rows) ++which;
    const NamedMid& k = all[which][what];
    launch(k.name, k.kernel, {split, ceil_div(l.N, 64), 1}, 160, mid_shared(s, what, share), split, map2(l.x, l.K, l.B, s.rows), l.arguments(share));
}
inline void check_mid(int what, int B, int N, int K, int D) {
    Layer l(what, B, N, K, D, false);
    run_mid(what, l);
    l.judge(title("mid", what, B, N, K));
}

inline void check_norm(int D, int B) {
    Buffer<float> x = floats((size_t)B * D, .5f, 2), gamma = floats(D, 1, .2f), beta = floats(D, 0, .2f);
    Buffer<h16> y = unwritten((size_t)B * D);
    Buffer<Ask> asks(2);
    asks[0].row = B - 1; asks[1].row = 0;
    Verdict v;
    auto judge = [&](int at, int row) {
        auto wanted = layer_norm(&x[(size_t)row * D], D, gamma.host.data(), beta.host.data());
        for (int c = 0; c < D; ++c) v.add(number(y[(size_t)at * D + c]), wanted[c]);
    };
    LAUNCH(dec_ln, {B, 1, 1}, 128, 0, 1, DecNorm{x.at(), gamma.at(), beta.at(), y.at(), nullptr, D});
    y.back();
    for (int b = 0; b < B; ++b) judge(b, b);
    LAUNCH(dec_ln, {2, 1, 1}, 128, 0, 1, DecNorm{x.at(), gamma.at(), beta.at(), y.at(), asks.at(), D});
    y.back();
    judge(0, B - 1); judge(1, 0);
    report("dec_ln, " + std::to_string(D) + ", all rows and picked ones", v, 3e-4);
}
// Rows, groups and questions go into their tables, places into theirs, and nothing else is touched.
inline void check_tell() {
    Texts texts(3, 5);
    texts.rows[1].token = texts.rows[1].store = -1;
    Group group{0, 3, 7, 50};
    Ask ask{};
    ask.row = 2; ask.uniform = .25;
    Buffer<uint4> told(3 + 1 + 4);
    memcpy(told.host.data(), texts.rows.host.data(), 48);
    memcpy(told.host.data() + 3, &group, 16);
    memcpy(told.host.data() + 4, &ask, 64);
    Buffer<Change> changes(400);
    for (u32 i = 0; i < 400; ++i) changes[i] = {3 * 448 + i, 1000 + i};
    Buffer<Row> rows(3);
    Buffer<Group> groups(1);
    Buffer<Ask> asks(1);
    Buffer<u32> places((size_t)4 * 448, 9);
    LAUNCH(tell, {2, 1, 1}, 256, 0, 1, Tell{told.at(), changes.at(), (uint4*)rows.at(), (uint4*)groups.at(), (uint4*)asks.at(), places.at(), 3, 1, 4, 400, 448});
    rows.back(); groups.back(); asks.back(); places.back();
    Verdict v;
    for (int b = 0; b < 3; ++b) {
        Row wanted = texts.rows[b];
        v.add(rows[b].store, wanted.store); v.add(rows[b].table, wanted.table);
        if (wanted.store >= 0) { size_t at = (size_t)wanted.table * 448 + wanted.position; v.add(places[at], wanted.store); places[at] = 9; }
    }
    v.add(groups[0].window, 7); v.add(groups[0].positions, 50); v.add(asks[0].row, 2); v.add(asks[0].uniform, .25);
    for (u32 i = 0; i < 4 * 448; ++i) v.add(places[i], i >= 3 * 448 && i < 3 * 448 + 400 ? 1000 + i - 3 * 448 : 9);
    report("tell, an empty row among them", v, 1e-9);
}
inline void check_embed(int D) {
    Texts texts(3, 5);
    Buffer<h16> tokens = halves((size_t)4 * D, 1);
    Buffer<float> positions = floats((size_t)10 * D, 0, 1), x((size_t)3 * D, NAN);
    texts.rows[1].token = texts.rows[1].store = -1;
    LAUNCH(embed, {3, 1, 1}, 128, 0, 1, Embed{texts.rows.at(), tokens.at(), positions.at(), x.at(), D});
    x.back();
    Verdict v;
    for (int b = 0; b < 3; ++b) for (int c = 0; c < D; ++c) {
        Row r = texts.rows[b];
        v.add(x[(size_t)b * D + c], r.token < 0 ? 0 : number(tokens[(size_t)r.token * D + c]) + positions[(size_t)r.position * D + c]);
    }
    report("embed, an empty row among them", v, 1e-6);
}

// Softmax of scores, then the weighted sum of values: one head of one row.
template <class Key, class Value> void attend_exactly(Verdict& v, const std::vector<double>& q, int keys, Key key, Value value, const h16* got) {
    std::vector<double> s(keys);
    double top = -1e300, sum = 0;
    for (int j = 0; j < keys; ++j) { s[j] = 0; for (int d = 0; d < 64; ++d) s[j] += q[d] * key(j, d) / 8; top = std::max(top, s[j]); }
    for (double& x : s) { x = exp(x - top); sum += x; }
    for (int d = 0; d < 64; ++d) {
        double wanted = 0;
        for (int j = 0; j < keys; ++j) wanted += s[j] / sum * value(j, d);
        v.add(number(got[d]), wanted);
    }
}
inline std::vector<double> head_of(const h16* row) { std::vector<double> q(64); for (int d = 0; d < 64; ++d) q[d] = number(row[d]); return q; }

inline void check_self(int heads, int B, int from) {
    int D = heads * 64;
    Texts texts(B, from);
    Buffer<h16> q = halves((size_t)B * D, 1), keys = halves((size_t)texts.blocks * D * 64, 1), values = halves((size_t)texts.blocks * D * 64, 1), out = unwritten((size_t)B * D);
    texts.rows[0].token = texts.rows[0].store = -1;
    LAUNCH(self_attn, {heads, B, 1}, 128, 0, 1, SelfAttn{q.at(), keys.at(), values.at(), out.at(), texts.rows.at(), texts.places.at(), D, Texts::CONTEXT});
    out.back();
    Verdict v;
    for (int b = 1; b < B; ++b) for (int h = 0; h < heads; ++h) {
        const u32* places = &texts.places[(size_t)texts.rows[b].table * Texts::CONTEXT];
        auto of = [&](Buffer<h16>& cache) { return [&, places, h](int j, int d) { return number(cache[cache_place(places[j], h, heads) + d]); }; };
        attend_exactly(v, head_of(&q[(size_t)b * D + h * 64]), texts.rows[b].position + 1, of(keys), of(values), &out[(size_t)b * D + h * 64]);
    }
    for (int c = 0; c < D; ++c) if (out[c] != 0) v.add(1e30, 0);
    report("self_attn, " + std::to_string(B) + " rows from position " + std::to_string(from), v, 6e-4);
}

// Windows with audio of different lengths, groups with different numbers of rows, in shuffled order.
struct Audio {
    int positions, heads, windows, padded;
    bool bytes;
    size_t window_bytes;
    Buffer<h16> kv;
    Buffer<u8> keys, values;
    Buffer<float> key_scale, value_scale, spreads;
    Buffer<int> where;
    Buffer<Group> groups;
    int rows = 0;
    Audio(bool bytes, int positions, int heads, int windows, int most_rows)
        : positions(positions), heads(heads), windows(windows), padded(ceil_div(positions, bytes ? 64 : 32) * (bytes ? 64 : 32)), bytes(bytes), window_bytes((size_t)heads * padded * (bytes ? (int)BYTES_A_POSITION : 128)),
          kv(halves((size_t)windows * positions * 2 * heads * 64, 1)), keys(windows * window_bytes, 0x7e), values(windows * window_bytes, 0x7e), key_scale((size_t)windows * heads * 64), value_scale((size_t)windows * heads * 64), spreads((size_t)windows * heads * KV_PARTS * 256), where(windows), groups(windows + 1) {
        for (int w = 0; w < windows; ++w) {
            where[w] = windows - 1 - w;
            int n = 1 + (most_rows - 1) * (w + 1) / windows;
            groups[w] = {rows, n, w, positions};
            rows += n;
        }
        groups[windows] = {0, 0, 0, 0};
        KvLayout p{kv.at(), keys.at(), values.at(), key_scale.at(), value_scale.at(), where.at(), spreads.at(), (long long)window_bytes, positions, heads * 64, padded};
        if (bytes) { LAUNCH(kv_spread, {KV_PARTS, heads, windows}, 256, 0, 1, p); LAUNCH(kv_i8, {KV_PARTS, heads, windows}, 256, 0, 1, p); }
        else LAUNCH(kv_f16, {padded / 32, heads, windows}, 128, 0, 1, p);
    }
    double at(int window, int position, int column) { return number(kv[((size_t)(windows - 1 - window) * positions + position) * 2 * heads * 64 + column]); }
};
inline void run_cross(Audio& a, CrossAttn p) {
    EmuDim grid = {p.split, a.heads, (int)a.groups.size()};
    if (a.bytes) LAUNCH(cross_i8, grid, 128, 0, 1, p); else LAUNCH(cross_f16, grid, 128, 0, 1, p);
    if (p.split > 1) LAUNCH(cross_sum, {a.heads, (int)a.groups.size(), 1}, 64, 0, 1, p);
}
inline void check_cross(bool bytes, int positions, int heads, int windows, int most_rows, int split) {
    Audio a(bytes, positions, heads, windows, most_rows);
    int D = heads * 64;
    Buffer<h16> q = halves((size_t)a.rows * D, 1), out = unwritten((size_t)a.rows * D);
    Buffer<float> parts(a.groups.size() * heads * split * 528, NAN);
    run_cross(a, {q.at(), a.keys.at(), a.values.at(), bytes ? a.key_scale.at() : nullptr, bytes ? a.value_scale.at() : nullptr, a.groups.at(), out.at(), parts.at(), (long long)a.window_bytes, D, a.padded, split});
    Buffer<int> watched(std::vector<int>{heads - 1});
    Buffer<float> weights((size_t)a.rows * 2 * a.padded, NAN);
    LAUNCH(cross_weights, {1, (int)a.groups.size(), 1}, 128, 0, 1, CrossWeights{q.at(), a.keys.at(), a.key_scale.at(), a.groups.at(), watched.at(), weights.at(), (long long)a.window_bytes, D, a.padded, bytes, 1, 2, a.padded});
    out.back(); weights.back();
    Verdict v, w;
    for (int g = 0; g < windows; ++g) for (int r = a.groups[g].first; r < a.groups[g].first + a.groups[g].rows; ++r) for (int h = 0; h < heads; ++h) {
        auto query = head_of(&q[(size_t)r * D + h * 64]);
        auto key = [&](int j, int d) { return a.at(g, j, h * 64 + d); };
        attend_exactly(v, query, positions, key, [&](int j, int d) { return a.at(g, j, D + h * 64 + d); }, &out[(size_t)r * D + h * 64]);
        if (h < heads - 1) continue;
        std::vector<double> s(positions);
        double sum = 0;
        for (int j = 0; j < positions; ++j) { for (int d = 0; d < 64; ++d) s[j] += query[d] * key(j, d) / 8; sum += exp(s[j]); }
        for (int j = 0; j < positions; ++j) w.add(weights[((size_t)r * 2 + 1) * a.padded + j], exp(s[j]) / sum);
    }
    std::string name = std::string(bytes ? "i8" : "f16") + ", " + std::to_string(positions) + " positions, to " + std::to_string(most_rows) + " rows, split " + std::to_string(split);
    report("cross " + name, v, bytes ? 2e-2 : 1e-3);
    report("cross_weights " + name, w, bytes ? 2e-2 : 1e-3);
}
