// Ranking on the card against the rules in double precision: every kind of question, forced timestamps, ties, logits that are
// no numbers, tokens behind the timestamps.
#pragma once
#include "runtime.h"

struct Ranking {
    int vocab, parts, count = 0;
    Buffer<Ask> asks;
    Buffer<float> logits;
    Buffer<u32> sets, listed;
    Buffer<PartSum> sums;
    Buffer<Ranked> few;
    Buffer<Said> said;
    Buffer<float> probability;
    Ranking(int vocab, int most)
        : vocab(vocab), parts(ceil_div(vocab, PART_TOKENS)), asks(most), logits((size_t)most * vocab), sets((size_t)2 * (vocab / 32 + 1), ~0u), listed(LISTED), sums((size_t)most * parts * CLASSES),
          few((size_t)most * parts * 8 * CLASSES * MOST), said((size_t)most * MOST, Said{-7, 0}), probability((size_t)most * LISTED, NAN) {
        for (auto& v : logits.host) v = random_number() * 3;
        for (int t = 0; t < vocab; t += 11) sets[t / 32] &= ~(1u << t % 32);             // the first set
        for (size_t i = 0; i < sets.size() / 2; ++i) sets[sets.size() / 2 + i] = 0;       // the second allows one token
        sets[sets.size() / 2] = 1u << 5;
        for (u32 i = 0; i < LISTED; ++i) listed[i] = i * 13 % (u32)(vocab + 20);
    }
    Ask& ask(u32 want, u32 k = 1, u32 forced = 0, double uniform = 0, float temperature = 1) {
        u32 times = (u32)vocab - 120, added = (u32)vocab - 20;
        asks[count] = {count, want, k, 0, 0, forced, {0, times}, {times, added}, {added, (u32)vocab}, 1 / temperature, 0, uniform};
        return asks[count++];
    }
    float* row(int a) { return &logits[(size_t)a * vocab]; }
    int kind(int a, int t) {
        const Ask& q = asks[a];
        auto in = [t](const u32* range) { return (u32)t >= range[0] && (u32)t < range[1]; };
        if (!std::isfinite(row(a)[t]) || !(sets[q.set + t / 32] >> t % 32 & 1)) return 2;
        return in(q.times) ? 1 : in(q.text) || in(q.added) ? 0 : 2;
    }
    void run() {
        while (count < (int)asks.size()) asks[count++] = {-1, BEST, 1, 0, 0, 0, {0, 0}, {0, 0}, {0, 0}, 1, 0, 0};
        Rank p{logits.at(), asks.at(), sets.at(), listed.at(), sums.at(), few.at(), said.at(), probability.at(), vocab};
        LAUNCH(rank_part, {parts, count, 1}, 256, 0, 1, p);
        LAUNCH(rank_row, {count, 1, 1}, 256, 0, 1, p);
        said.back(); probability.back();
    }
};
// What may be chosen, descending, and the logarithm of its sum.
struct Left { std::vector<int> tokens; double lse = -INFINITY; };
inline Left left_of(Ranking& r, int a) {
    double top = -INFINITY, sum[2] = {0, 0};
    for (int t = 0; t < r.vocab; ++t) { int c = r.kind(a, t); if (c < 2) sum[c] += exp((double)r.row(a)[t]); if (c == 0) top = std::max(top, (double)r.row(a)[t]); }
    bool due = r.asks[a].forced && log(sum[1]) > top;
    Left left;
    for (int t = 0; t < r.vocab; ++t) if (r.kind(a, t) == 1 || (r.kind(a, t) == 0 && !due)) left.tokens.push_back(t);
    left.lse = log(due ? sum[1] : sum[0] + sum[1]);
    std::stable_sort(left.tokens.begin(), left.tokens.end(), [&](int x, int y) { return r.row(a)[x] > r.row(a)[y]; });
    return left;
}
inline void judge_tokens(Ranking& r, int a, Verdict& v) {
    Left left = left_of(r, a);
    const Ask& q = r.asks[a];
    for (u32 i = 0; i < (q.want == BEST_K ? q.k : 1); ++i) {
        Said s = r.said[(size_t)a * MOST + i];
        int wanted = i < left.tokens.size() ? left.tokens[i] : -1;
        if (q.want == DRAW && wanted >= 0) {
            std::vector<int> order = left.tokens;
            std::sort(order.begin(), order.end());
            double total = 0, sum = 0;
            auto weight = [&](int t) { return exp(((double)r.row(a)[t] - r.row(a)[left.tokens[0]]) * q.scale); };
            for (int t : order) total += weight(t);
            for (int t : order) { sum += weight(t); if (sum > q.uniform * total) { wanted = t; break; } }
        }
        if (s.token != wanted) { printf("ask %d: token %d instead of %d\n", a, s.token, wanted); v.add(1e30, 0); }
        else if (wanted >= 0) v.add(s.logprob, r.row(a)[wanted] - left.lse);
    }
}
inline void check_rank(int vocab) {
    Ranking r(vocab, 16);
    r.ask(BEST);
    r.row(0)[777] = r.row(0)[778] = 20;                                     // a tie, and 777 / 11 is no whole number
    r.ask(BEST).set = (u32)r.sets.size() / 2;                               // one token left
    Ask& none = r.ask(BEST);
    none.set = (u32)r.sets.size() / 2;
    none.text[0] = 100;
    r.ask(BEST, 1, 1);
    for (int t = vocab - 120; t < vocab - 20; ++t) r.row(3)[t] += 9;        // a timestamp is due, though text is best
    r.row(3)[300] = 14;
    r.ask(BEST, 1, 1);                                                      // and is not
    r.row(4)[301] = 30;
    r.ask(BEST);
    for (int t = 0; t < vocab; t += 3) r.row(5)[t] = t % 2 ? NAN : -INFINITY;
    r.ask(BEST_K, 6);
    for (int t = 40; t < 60; ++t) r.row(6)[t] = 15;                         // more equals than are asked for, in one warp
    Ask& few = r.ask(BEST_K, 16, 1);
    few.text[1] = 12; few.times[0] = few.times[1] = 0; few.added[0] = few.added[1] = 0;   // fewer left than asked for
    r.ask(BEST_K, 6, 1);
    for (int t = vocab - 120; t < vocab - 20; ++t) r.row(8)[t] += 12;
    for (double u : {0.0, 0.3, 0.999999}) r.ask(DRAW, 1, 0, u, u == 0.3 ? 0.4f : 1.f);
    r.ask(DRAW, 1, 0, 0.9, 1e-30f);                                         // as cold as can be: the best
    r.row(12)[900] = 25;
    r.ask(DRAW, 1, 1, 0.5);
    for (int t = vocab - 120; t < vocab - 20; ++t) r.row(13)[t] += 15;
    r.ask(PROBABILITIES, 100);
    r.run();
    Verdict v, p;
    for (int a = 0; a < 14; ++a) judge_tokens(r, a, v);
    if (r.said[(size_t)15 * MOST].token != -7) v.add(1e30, 0);              // nothing was asked there
    for (u32 i = 0; i < 100; ++i) {
        float got = r.probability[14 * LISTED + i];
        if ((int)r.listed[i] >= vocab) { if (got == got) p.add(1e30, 0); }
        else p.add(got, exp(r.row(14)[r.listed[i]] - left_of(r, 14).lse));
    }
    report("rank: tokens and log-probabilities, " + std::to_string(vocab), v, 1e-5);
    report("rank: probabilities", p, 1e-5);
}
