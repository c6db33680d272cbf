//! Phrases that are to be expected: a trie over tokens and what it adds to logits (contextual biasing by shallow
//! fusion, arXiv 1808.02480).
//!
//! In: phrases as tokens with weights, and what a row has sampled. Out: for every token that goes on with a phrase,
//! the gain that its logit gets. Where a row stands follows from its own tokens, so rows and beams carry nothing.

use std::collections::HashMap;

/// A phrase in one of its spellings.
#[derive(Clone, Debug, PartialEq)]
pub struct PhraseTokens {
    /// Its text tokens; none is no phrase.
    pub tokens: Vec<u32>,
    /// What each of its tokens gains, 0 or more.
    pub weight: f32,
    /// Whether it begins without a space: then it must not go on with a word.
    pub is_bare: bool,
}

/// The root of spellings that may begin behind any token, and of those without a space.
const ROOTS: [usize; 2] = [0, 1];

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// Sum of what the tokens up to here gain.
    score: f32,
    /// The part of it that stays when the match breaks off: up to the last whole phrase.
    kept: f32,
    children: HashMap<u32, usize>,
}

/// Phrases as a trie. Where phrases share their beginning, the greater weight counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Bias {
    nodes: Vec<Node>,
    /// Tokens of the longest phrase.
    deepest: usize,
    /// Whether a token ends inside a word, by its id.
    in_word: Vec<bool>,
}

impl Bias {
    /// A trie of these phrases; `in_word` says by a token's id whether a word may go on behind it.
    #[must_use]
    pub fn new(phrases: &[PhraseTokens], in_word: Vec<bool>) -> Self {
        let mut bias = Self {
            nodes: vec![Node::default(), Node::default()],
            deepest: 0,
            in_word,
        };
        // Heavy ones first: what they share with lighter ones has their weight.
        let mut sorted: Vec<&PhraseTokens> = phrases.iter().collect();
        sorted.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let ends: Vec<usize> = sorted.iter().map(|phrase| bias.insert(phrase)).collect();
        bias.keep(&ends);
        bias
    }

    /// Adds a phrase's path; gives its last node.
    fn insert(&mut self, phrase: &PhraseTokens) -> usize {
        self.deepest = self.deepest.max(phrase.tokens.len());
        let mut at = ROOTS[usize::from(phrase.is_bare)];
        for token in &phrase.tokens {
            at = match self.nodes[at].children.get(token) {
                Some(child) => *child,
                None => {
                    let (child, score) = (self.nodes.len(), self.nodes[at].score + phrase.weight);
                    self.nodes[at].children.insert(*token, child);
                    self.nodes.push(Node {
                        score,
                        ..Node::default()
                    });
                    child
                }
            };
        }
        at
    }

    /// Says of every node what stays; children were added behind their parents.
    fn keep(&mut self, ends: &[usize]) {
        for end in ends {
            self.nodes[*end].kept = self.nodes[*end].score;
        }
        for at in 0..self.nodes.len() {
            let Node { kept, children, .. } = &self.nodes[at];
            let (kept, children) = (*kept, children.values().copied().collect::<Vec<_>>());
            for child in children {
                let child = &mut self.nodes[child];
                child.kept = child.kept.max(kept);
            }
        }
    }

    /// What a row that has sampled these tokens gains by each next one. `without_spaces`: of a language whose
    /// words follow each other at once.
    #[must_use]
    pub fn gains(&self, sampled: &[u32], without_spaces: bool) -> Gains {
        let mut gains = Gains::default();
        let first = sampled.len().saturating_sub(self.deepest);
        for start in first..=sampled.len() {
            let reached = ROOTS.into_iter().filter_map(|root| {
                let begins = root == ROOTS[0] || without_spaces || !self.is_in_word(sampled, start);
                begins.then(|| self.walk(root, &sampled[start..]))?
            });
            reached.for_each(|at| self.add(at, start == sampled.len(), &mut gains));
        }
        gains
    }

    fn is_in_word(&self, sampled: &[u32], start: usize) -> bool {
        let before = start.checked_sub(1).map(|i| sampled[i] as usize);
        before.is_some_and(|token| self.in_word.get(token).copied().unwrap_or_default())
    }

    fn walk(&self, root: usize, tokens: &[u32]) -> Option<usize> {
        let step = |at: usize, token: &u32| self.nodes[at].children.get(token).copied();
        tokens.iter().try_fold(root, step)
    }

    /// Adds how a match goes on. The first one is the longest: it is the row's, and what it has gained for a
    /// phrase that is not whole is taken back where another token follows.
    fn add(&self, at: usize, is_root: bool, gains: &mut Gains) {
        let node = &self.nodes[at];
        let is_longest = !is_root && !gains.is_in_phrase;
        let stays = if is_longest { node.kept } else { 0.0 };
        if is_longest {
            gains.is_in_phrase = true;
            gains.taken_back = node.score - node.kept;
        }
        for (token, child) in &node.children {
            let gain = self.nodes[*child].score - stays;
            gains.tokens.entry(*token).or_insert(gain);
        }
    }
}

/// What a row gains by its next token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gains {
    /// Of each token that goes on with a phrase, or begins one.
    tokens: HashMap<u32, f32>,
    /// What any other token loses.
    taken_back: f32,
    is_in_phrase: bool,
}

impl Gains {
    /// Adds to the logits of tokens that go on with a phrase what they gain over all others.
    pub fn apply(&self, logits: &mut [f32]) {
        for (token, gain) in &self.tokens {
            if let Some(logit) = logits.get_mut(*token as usize) {
                *logit += gain;
            }
        }
    }

    /// What a token adds to the row's sum: what it gains, less what is taken back.
    #[must_use]
    pub fn bonus(&self, token: u32) -> f32 {
        self.tokens.get(&token).copied().unwrap_or_default() - self.taken_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: u32 = 90;
    const COMMA: u32 = 91;

    fn phrase(tokens: &[u32], weight: f32, is_bare: bool) -> PhraseTokens {
        PhraseTokens {
            tokens: tokens.to_vec(),
            weight,
            is_bare,
        }
    }

    fn bias(phrases: &[PhraseTokens]) -> Bias {
        let in_word = (0..100).map(|token| token == WORD).collect();
        Bias::new(phrases, in_word)
    }

    /// What a row of these tokens has gained in all.
    fn total(bias: &Bias, tokens: &[u32]) -> f32 {
        let gained = |i: usize| bias.gains(&tokens[..i], false).bonus(tokens[i]);
        (0..tokens.len()).map(gained).sum()
    }

    #[test]
    fn whole_phrases_keep_what_they_gained_and_parts_do_not() {
        let bias = bias(&[
            phrase(&[1, 2, 3], 2.0, false),
            phrase(&[1, 2, 3, 4, 5], 2.0, false),
            phrase(&[6, 7], 1.5, false),
            phrase(&[2, 8], 0.5, false),
        ]);
        let cases: [(&[u32], f32); 12] = [
            (&[9, 9], 0.0),
            (&[1], 2.0),
            (&[1, 2], 4.0),
            (&[1, 2, 9], 0.0),
            (&[1, 2, 3], 6.0),
            (&[1, 2, 3, 9], 6.0),
            (&[1, 2, 3, 4], 8.0),
            (&[1, 2, 3, 4, 9], 6.0),
            (&[1, 2, 3, 4, 5, 9], 10.0),
            // One phrase at the heels of another, and one inside another that breaks off.
            (&[6, 7, 1, 2, 3, 9], 9.0),
            (&[1, 2, 8, 9], 1.0),
            (&[1, 1, 6, 6, 9], 0.0),
        ];
        for (tokens, expected) in cases {
            assert_eq!(total(&bias, tokens), expected, "{tokens:?}");
        }
    }

    #[test]
    fn what_is_left_of_a_row_does_not_depend_on_how_it_came_there() {
        let bias = bias(&[
            phrase(&[1, 2, 1, 3], 1.0, false),
            phrase(&[2, 1], 1.0, true),
        ]);
        let far = [5, 6, 7, WORD, COMMA, 1, 2];
        assert_eq!(bias.gains(&far, false), bias.gains(&far[4..], false));
    }

    #[test]
    fn spellings_without_a_space_do_not_go_on_with_a_word() {
        let bias = bias(&[phrase(&[1, 2], 2.0, true)]);
        assert_eq!(total(&bias, &[1, 2]), 4.0);
        assert_eq!(total(&bias, &[COMMA, 1, 2]), 4.0);
        assert_eq!(total(&bias, &[WORD, 1, 2]), 0.0);
        let gains = bias.gains(&[WORD, 1], true);
        assert_eq!((gains.bonus(2), gains.bonus(9)), (2.0, -2.0));
    }

    #[test]
    fn logits_gain_and_no_other_changes() {
        let bias = bias(&[phrase(&[1, 2], 2.0, false), phrase(&[3], 0.5, false)]);
        let mut logits = vec![1.0; 4];
        logits[2] = f32::NEG_INFINITY;
        bias.gains(&[1], false).apply(&mut logits);
        assert_eq!(logits, [1.0, 3.0, f32::NEG_INFINITY, 1.5]);
        // The greater weight of a shared beginning.
        let bias = super::tests::bias(&[phrase(&[1], 0.5, false), phrase(&[1, 2], 2.0, false)]);
        assert_eq!(bias.gains(&[], false).bonus(1), 2.0);
    }
}
