//! Queries as the card's ranking is asked them, and what it says as answers.
//!
//! The rules are [`crate::ranking`]'s; what the card has no room for (all logits, very many tokens, more sets of
//! allowed tokens in a step than it keeps) is ranked there from the row's logits.

use std::collections::HashMap;

use bytemuck::{NoUninit, Pod, Zeroable};

use crate::device::{Address, Card, Memory};
use crate::error::Result;
use crate::ranking::{AllowedRuns, Answer, Choice, Query, Wanted, filled_up};

/// The most of the best that the card finds.
pub(super) const MOST_BEST: usize = 16;
/// Tokens whose probabilities one question may ask for.
pub(super) const MOST_LISTED: usize = 128;
/// Sets of allowed tokens that stay on the card.
const MOST_SETS: usize = 64;
/// Names by which they are known.
const MOST_NAMES: usize = 4096;
/// Tokens that one block ranks.
pub(super) const PART: usize = 2048;

/// One question: `struct Ask` of `step.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, NoUninit, Zeroable)]
pub(super) struct Ask {
    /// -1: none.
    pub row: i32,
    want: u32,
    k: u32,
    /// First word of the set of allowed tokens.
    set: u32,
    /// First of the tokens that are listed.
    tokens: u32,
    forced: u32,
    text: [u32; 2],
    times: [u32; 2],
    added: [u32; 2],
    scale: f32,
    unused: u32,
    uniform: f64,
}

impl Ask {
    /// No question.
    pub fn none() -> Self {
        Self {
            row: -1,
            ..Self::zeroed()
        }
    }
}

/// A token and its log-probability, as the card says them; -1: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub(super) struct Said {
    pub token: i32,
    pub logprob: f32,
}

/// Sets of allowed tokens on the card, a bit a token.
pub(super) struct Sets {
    card: Card,
    memory: Memory,
    words: usize,
    /// What lies where, and when it was last asked for.
    known: Vec<(AllowedRuns, u64)>,
    /// Where sets are by their names. They are kept, so that their names stay theirs.
    names: HashMap<usize, (AllowedRuns, usize)>,
    now: u64,
}

impl Sets {
    pub fn bytes(n_vocab: usize) -> usize {
        4 * MOST_SETS * n_vocab.div_ceil(32)
    }

    pub fn new(card: &Card, n_vocab: usize) -> Result<Self> {
        Ok(Self {
            card: card.clone(),
            memory: card.memory(Self::bytes(n_vocab))?,
            words: n_vocab.div_ceil(32),
            known: Vec::new(),
            names: HashMap::new(),
            now: 0,
        })
    }

    pub fn address(&self) -> Address {
        self.memory.address()
    }

    /// Another step: what it asks for stays until the next.
    pub fn next_step(&mut self) {
        self.now += 1;
    }

    /// Where a set lies, in words; none where every place is taken by this step.
    fn place(&mut self, set: &AllowedRuns) -> Result<Option<u32>> {
        let at = match self.find(set) {
            Some(at) => at,
            None => {
                let Some(at) = self.free() else {
                    return Ok(None);
                };
                self.put(set, at)?;
                at
            }
        };
        self.known[at].1 = self.now;
        Ok(Some((at * self.words) as u32))
    }

    /// Where a set is, by its name, or by what is in it: windows make sets of their own that are alike.
    fn find(&mut self, set: &AllowedRuns) -> Option<usize> {
        if let Some((_, at)) = self.names.get(&set.id()) {
            return Some(*at);
        }
        let at = self.known.iter().position(|(known, _)| known == set)?;
        self.name(set, at);
        Some(at)
    }

    /// A place that nothing of this step is in.
    fn free(&self) -> Option<usize> {
        if self.known.len() < MOST_SETS {
            return Some(self.known.len());
        }
        let oldest = (0..MOST_SETS).min_by_key(|at| self.known[*at].1);
        oldest.filter(|at| self.known[*at].1 < self.now)
    }

    fn put(&mut self, set: &AllowedRuns, at: usize) -> Result<()> {
        let to = self.memory.address() + (4 * at * self.words) as Address;
        let bits = bits(set, self.words);
        self.card.driver().write(to, bytemuck::cast_slice(&bits))?;
        self.names.retain(|_, (_, other)| *other != at);
        let entry = (set.clone(), self.now);
        match self.known.get_mut(at) {
            Some(known) => *known = entry,
            None => self.known.push(entry),
        }
        self.name(set, at);
        Ok(())
    }

    fn name(&mut self, set: &AllowedRuns, at: usize) {
        if self.names.len() >= MOST_NAMES {
            self.names.clear();
        }
        self.names.insert(set.id(), (set.clone(), at));
    }
}

fn bits(set: &AllowedRuns, words: usize) -> Vec<u32> {
    let mut bits = vec![0_u32; words];
    for run in set.iter() {
        let mut token = run.start;
        while token < run.end && token / 32 < words {
            // All of a word's that are in the run.
            let end = run.end.min((token / 32 + 1) * 32);
            let below = |n: usize| ((1_u64 << n) - 1) as u32;
            bits[token / 32] |= below(token % 32 + end - token) & !below(token % 32);
            token = end;
        }
    }
    bits
}

/// The questions of one pass.
pub(super) struct Asks {
    pub asks: Vec<Ask>,
    pub listed: Vec<u32>,
    /// Which of them are answered from the row's logits.
    pub on_host: Vec<bool>,
}

impl Asks {
    /// Of queries about these rows of the pass; `room` tokens may be listed.
    pub fn new(sets: &mut Sets, queries: &[(usize, &Query<'_>)], room: usize) -> Result<Self> {
        let mut all = Self {
            asks: Vec::with_capacity(queries.len()),
            listed: Vec::new(),
            on_host: Vec::with_capacity(queries.len()),
        };
        for (row, query) in queries {
            let set = match fits(&query.want, room - all.listed.len()) {
                true => sets.place(query.constraint.allowed)?,
                false => None,
            };
            all.on_host.push(set.is_none());
            let first = all.listed.len() as u32;
            if let (Wanted::Probabilities(tokens), Some(_)) = (&query.want, set) {
                all.listed.extend_from_slice(tokens);
            }
            all.asks.push(ask(*row, query, set, first));
        }
        Ok(all)
    }

    /// Whether probabilities are to be read.
    pub fn probabilities(&self) -> bool {
        !self.listed.is_empty()
    }
}

fn fits(want: &Wanted<'_>, room: usize) -> bool {
    match want {
        Wanted::Best | Wanted::Draw { .. } => true,
        Wanted::BestK(k) => *k <= MOST_BEST,
        Wanted::Probabilities(tokens) => tokens.len() <= MOST_LISTED.min(room),
        Wanted::Logits => false,
    }
}

fn ask(row: usize, query: &Query<'_>, set: Option<u32>, tokens: u32) -> Ask {
    let range = |range: &std::ops::Range<usize>| [range.start as u32, range.end as u32];
    let constraint = &query.constraint;
    let mut ask = Ask {
        row: row as i32,
        set: set.unwrap_or(0),
        tokens,
        forced: constraint.forced.into(),
        text: range(&constraint.text),
        times: range(&constraint.timestamps),
        added: range(&constraint.added),
        scale: 1.0,
        ..Ask::none()
    };
    (ask.want, ask.k) = match query.want {
        _ if set.is_none() => (0, 0),
        Wanted::Best => (1, 1),
        Wanted::BestK(k) => (2, k as u32),
        Wanted::Draw { .. } => (3, 1),
        Wanted::Probabilities(tokens) => (4, tokens.len() as u32),
        Wanted::Logits => (0, 0),
    };
    if let Wanted::Draw {
        temperature,
        uniform,
    } = query.want
    {
        // However cold: a difference of 0 must stay 0 when it is scaled.
        ask.scale = (temperature.recip() as f32).min(f32::MAX);
        ask.uniform = uniform;
    }
    ask
}

/// What the card said to a query: up to [`MOST_BEST`] tokens, [`MOST_LISTED`] probabilities where any were asked for.
pub(super) fn answer(query: &Query<'_>, said: &[Said], probabilities: &[f32]) -> Answer {
    let choice = |said: &Said| Choice {
        token: said.token as u32,
        logprob: said.logprob,
        bonus: 0.0,
    };
    let mut found = said.iter().filter(|said| said.token >= 0).map(choice);
    match query.want {
        Wanted::BestK(k) => Answer::Choices(filled_up(found.take(k).collect(), k)),
        Wanted::Probabilities(tokens) => {
            Answer::Probabilities(probabilities[..tokens.len()].to_vec())
        }
        _ => Answer::Choice(found.next()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::device::recording::{Recording, card};
    use crate::ranking::Constraint;

    fn query<'a>(allowed: &'a AllowedRuns, want: Wanted<'a>) -> Query<'a> {
        let constraint = Constraint {
            text: 0..90,
            timestamps: 90..100,
            ..Constraint::plain(allowed, 100)
        };
        Query {
            row: 0,
            at: 0,
            constraint,
            want,
        }
    }

    #[test]
    fn queries_become_questions_or_stay_here() {
        let card = Card::new(Arc::new(Recording::new(card())));
        let mut sets = Sets::new(&card, 100).unwrap();
        let (one, other) = (AllowedRuns::new(100, &[3]), AllowedRuns::only([5, 70]));
        let draw = Wanted::Draw {
            temperature: 1e-60,
            uniform: 0.25,
        };
        let many: Vec<u32> = (0..200).collect();
        let wants = [
            (query(&one, Wanted::Best), (1, 1, 0, false)),
            (query(&other, Wanted::BestK(6)), (2, 6, 4, false)),
            (query(&one, Wanted::BestK(17)), (0, 0, 0, true)),
            (query(&one, draw), (3, 1, 0, false)),
            (
                query(&other, Wanted::Probabilities(&many[..3])),
                (4, 3, 4, false),
            ),
            (query(&one, Wanted::Probabilities(&many)), (0, 0, 0, true)),
            (query(&one, Wanted::Logits), (0, 0, 0, true)),
        ];
        sets.next_step();
        let queries: Vec<_> = wants.iter().map(|(query, _)| (7, query)).collect();
        let asks = Asks::new(&mut sets, &queries, 1000).unwrap();
        for (i, (ask, (_, wanted))) in asks.asks.iter().zip(&wants).enumerate() {
            let got = (ask.want, ask.k, ask.set, asks.on_host[i]);
            assert_eq!(got, *wanted, "{i}");
            assert_eq!((ask.row, ask.times), (7, [90, 100]));
        }
        assert_eq!(asks.asks[3].scale, f32::MAX);
        assert_eq!(asks.listed, [0, 1, 2]);
        assert_eq!(bits(&other, 4), [1 << 5, 0, 1 << 6, 0]);
        assert_eq!(bits(&one, 4), [!8, !0, !0, 15]);
        assert_eq!(std::mem::size_of::<Ask>(), 64);
    }

    #[test]
    fn sets_of_a_step_stay_until_its_end() {
        let card = Card::new(Arc::new(Recording::new(card())));
        let mut sets = Sets::new(&card, 100).unwrap();
        let tables: Vec<_> = (0..=MOST_SETS as u32)
            .map(|token| AllowedRuns::only([token]))
            .collect();
        sets.next_step();
        for (i, table) in tables.iter().enumerate() {
            let expected = (i < MOST_SETS).then_some(4 * i as u32);
            assert_eq!(sets.place(table).unwrap(), expected, "{i}");
        }
        sets.next_step();
        assert_eq!(sets.place(&tables[1]).unwrap(), Some(4));
        // The same tokens under another name are where they are.
        assert_eq!(sets.place(&AllowedRuns::only([1])).unwrap(), Some(4));
        assert_eq!(sets.place(&tables[MOST_SETS]).unwrap(), Some(0));
        assert_eq!(sets.place(&tables[1]).unwrap(), Some(4));
    }

    #[test]
    fn what_is_said_becomes_answers() {
        let allowed = AllowedRuns::new(100, &[]);
        let said = |token, logprob| Said { token, logprob };
        let none = answer(&query(&allowed, Wanted::Best), &[said(-1, 0.0)], &[]);
        assert_eq!(none, Answer::Choice(None));
        let few = [said(1, -0.5), said(0, -2.0), said(-1, 0.0)];
        let few = answer(&query(&allowed, Wanted::BestK(3)), &few, &[]);
        let tokens: Vec<u32> = few.choices().iter().map(|choice| choice.token).collect();
        assert_eq!(tokens, [1, 0, 2]);
        assert_eq!(few.choices()[2].logprob, f32::NEG_INFINITY);
        let wanted = query(&allowed, Wanted::Probabilities(&[4, 5]));
        let given = answer(&wanted, &[], &[0.25, 0.5, 9.0]);
        assert_eq!(given.probabilities(), [0.25, 0.5]);
    }
}
