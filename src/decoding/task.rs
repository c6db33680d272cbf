//! One window's decoding over token ids alone: what openai/whisper's `DecodingTask` wires together.

use crate::decoding::beam::BeamSearchDecoder;
use crate::decoding::greedy::GreedyDecoder;
use crate::decoding::loops::loop_in;
use crate::decoding::penalties::Penalties;
use crate::decoding::phrases::Expected;
use crate::decoding::ranker::{self, Candidate, LengthPenalty};
use crate::decoding::rows::{Parents, Step};
use crate::decoding::rules::LogitRules;
use crate::decoding::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::options::DecodingOptions;
use crate::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted};

/// How the next token is chosen.
#[derive(Clone, Debug)]
enum TokenDecoder {
    Greedy(GreedyDecoder),
    Beam(BeamSearchDecoder),
}

/// The state of one window at one temperature.
#[derive(Clone, Debug)]
pub struct DecodingTask {
    /// What the prefill feeds.
    pub prompt: Vec<u32>,
    /// Where in the prompt the start of the transcript is.
    pub sot_index: usize,
    /// Rows after the prefill.
    pub group: usize,
    /// NaN until the prefill has been seen.
    pub no_speech_prob: f64,
    n_vocab: usize,
    all_tokens: AllowedRuns,
    no_speech: Option<u32>,
    /// Tokens that may be sampled at most.
    budget: usize,
    sampled: usize,
    /// Decides which tokens are allowed.
    rules: LogitRules,
    /// Chooses among them.
    decoder: TokenDecoder,
    /// Ranks rows here instead of where the logits are made, for requests that ask for more than those
    /// who make them can do.
    penalties: Option<Penalties>,
    /// The end of text, where a text that loops ends the window.
    loops_end: Option<u32>,
    /// Ranks the finished sequences.
    length_penalty: LengthPenalty,
}

impl DecodingTask {
    /// Wires a window's decoding from its options.
    ///
    /// # Errors
    /// [`Error::Option`] naming an option that contradicts another or does not fit the model.
    pub fn new(
        vocabulary: &Vocabulary,
        sot_sequence: &[u32],
        options: &DecodingOptions,
        n_text_ctx: usize,
    ) -> Result<Self> {
        verify(options, vocabulary.n_vocab)?;
        let sample_len = options
            .sample_len
            .filter(|n| *n > 0)
            .unwrap_or(n_text_ctx / 2);
        let mut prompt = previous_text(vocabulary, options, sot_sequence.len(), n_text_ctx);
        let sot_index = prompt.len();
        prompt.extend_from_slice(sot_sequence);
        // By default no room is set aside for a prefix, and then all of it is kept.
        let room = (n_text_ctx / 2) as isize - sample_len as isize;
        prompt.extend_from_slice(last_tokens(&options.prefix, room));
        if prompt.len() > n_text_ctx {
            let reason = format!(
                "the window begins with {} tokens, {n_text_ctx} fit",
                prompt.len()
            );
            return Err(Error::Option {
                option: "prefix",
                reason,
            });
        }
        let group = options.beam_size.or(options.best_of).unwrap_or(1);
        Ok(Self {
            sot_index,
            group,
            no_speech_prob: f64::NAN,
            n_vocab: vocabulary.n_vocab,
            all_tokens: AllowedRuns::new(vocabulary.n_vocab, &[]),
            no_speech: vocabulary.no_speech,
            // One token may go past the context: it is sampled, but not fed again.
            budget: sample_len.min(n_text_ctx + 1 - prompt.len()),
            sampled: 0,
            rules: LogitRules::new(vocabulary, options)?,
            decoder: token_decoder(options, group, vocabulary.eot)?,
            penalties: Penalties::new(options, &prompt, vocabulary),
            loops_end: options.stop_loops.then_some(vocabulary.eot),
            length_penalty: LengthPenalty::new(options, prompt.len()),
            prompt,
        })
    }

    /// The same window, with phrases to expect.
    pub fn expect(&mut self, expected: Expected) {
        match &mut self.penalties {
            Some(penalties) => penalties.expect(expected),
            none => *none = Some(Penalties::none_but(expected)),
        }
    }

    /// What the next step is asked: of the prefill how likely silence is where the transcript starts, and
    /// of each row how it goes on. Rows are those that the last [`Step`] named; the prefill's is one.
    pub fn queries(&self) -> Vec<Query<'_>> {
        let parents = self.parents();
        let (mut queries, at) = match parents {
            Parents::Prefill => (self.no_speech_query(), self.prompt.len() - 1),
            Parents::Own => (Vec::new(), 0),
        };
        self.each_row(&mut |index, sampled, want| {
            queries.push(Query {
                row: parents.of(index),
                at,
                constraint: self.rules.constraint(sampled),
                want: match self.penalties {
                    None => want,
                    Some(_) => Wanted::Logits,
                },
            });
        });
        queries
    }

    /// What the one row has sampled, where it goes on greedily.
    pub fn greedy_row(&self) -> Option<&[u32]> {
        match &self.decoder {
            TokenDecoder::Greedy(decoder) if self.sampled > 0 => decoder.only_greedy_row(),
            _ => None,
        }
    }

    /// What is asked behind tokens that the one row might sample next, `at` the step's token before.
    pub fn query_behind(&self, ahead: &[u32], at: usize) -> Query<'_> {
        let sampled = [self.greedy_row().unwrap_or_default(), ahead].concat();
        Query {
            row: 0,
            at,
            constraint: self.rules.constraint(&sampled),
            want: match self.penalties {
                None => Wanted::Best,
                Some(_) => Wanted::Logits,
            },
        }
    }

    /// Goes through the rows: their place, what they have sampled, how they go on.
    fn each_row(&self, visit: &mut dyn FnMut(usize, &[u32], Wanted<'static>)) {
        let visit = |(index, (sampled, want)): (usize, (&[u32], _))| visit(index, sampled, want);
        match &self.decoder {
            TokenDecoder::Greedy(decoder) => decoder.wanted().enumerate().for_each(visit),
            TokenDecoder::Beam(decoder) => decoder.wanted().enumerate().for_each(visit),
        }
    }

    /// Whether going on is of no use: the best beam repeats itself, or every sample does.
    fn is_looping(&self) -> bool {
        let Some(eot) = self.loops_end else {
            return false;
        };
        let mut looping = true;
        let beams = matches!(self.decoder, TokenDecoder::Beam(_));
        self.each_row(&mut |index, sampled, _| {
            looping &= (beams && index > 0) || loop_in(sampled, eot).is_some();
        });
        looping
    }

    /// The rows' answers, from logits that penalties have changed.
    fn penalised(&self, penalties: &Penalties, answers: &[Answer]) -> Vec<Answer> {
        let mut ranked = Vec::with_capacity(answers.len());
        self.each_row(&mut |index, sampled, want| {
            let logits = answers.get(index).map_or(&[][..], Answer::logits);
            let constraint = self.rules.constraint(sampled);
            ranked.push(penalties.answer(logits, sampled, constraint, want));
        });
        ranked
    }

    /// Before anything was sampled, every row begins from the prompt's.
    fn parents(&self) -> Parents {
        match self.sampled {
            0 => Parents::Prefill,
            _ => Parents::Own,
        }
    }

    /// Softmax over the whole row, as the reference takes it.
    fn no_speech_query(&self) -> Vec<Query<'_>> {
        let query = |token| Query {
            row: 0,
            at: self.sot_index,
            constraint: Constraint::plain(&self.all_tokens, self.n_vocab),
            want: Wanted::Probabilities(std::slice::from_ref(token)),
        };
        self.no_speech.iter().map(query).collect()
    }

    /// Takes the answers to [`queries`](Self::queries), in their order.
    pub fn advance(&mut self, mut answers: &[Answer]) -> Step<'_> {
        let parents = self.parents();
        if parents == Parents::Prefill
            && self.no_speech.is_some()
            && let Some((silence, rest)) = answers.split_first()
        {
            let probability = silence.probabilities().first();
            self.no_speech_prob = probability.map_or(f64::NAN, |p| f64::from(*p));
            answers = rest;
        }
        if self.sampled >= self.budget {
            return Step::Done;
        }
        let penalties = self.penalties.as_ref();
        let ranked = penalties.map(|penalties| self.penalised(penalties, answers));
        let answers = ranked.as_deref().unwrap_or(answers);
        self.sampled += 1;
        let completed = match &mut self.decoder {
            TokenDecoder::Greedy(decoder) => decoder.update(answers, parents),
            TokenDecoder::Beam(decoder) => decoder.update(answers),
        };
        if completed || self.sampled >= self.budget || self.is_looping() {
            return Step::Done;
        }
        Step::Continue(match &self.decoder {
            TokenDecoder::Greedy(decoder) => decoder.next(),
            TokenDecoder::Beam(decoder) => decoder.next(),
        })
    }

    /// The best sequence as things stand.
    pub fn best(&self) -> Candidate {
        let candidates = match self.decoder.clone() {
            TokenDecoder::Greedy(decoder) => decoder.finalize(),
            TokenDecoder::Beam(decoder) => decoder.finalize(),
        };
        ranker::best(candidates, self.length_penalty).unwrap_or_default()
    }
}

fn verify(options: &DecodingOptions, n_vocab: usize) -> Result<()> {
    let bad = |option, reason: &str| {
        Err(Error::Option {
            option,
            reason: reason.into(),
        })
    };
    if options.beam_size.is_some() && options.best_of.is_some() {
        return bad("beam_size", "beam_size and best_of can't be given together");
    }
    if options.temperature == 0.0 && options.best_of.is_some() {
        return bad("best_of", "needs a temperature above 0");
    }
    if options.patience.is_some() && options.beam_size.is_none() {
        return bad("patience", "requires beam_size to be given");
    }
    if options
        .beam_size
        .or(options.best_of)
        .is_some_and(|n| n == 0 || n >= n_vocab)
    {
        return bad(
            "beam_size",
            "beam_size and best_of start at 1 and stay below the vocabulary",
        );
    }
    Ok(())
}

fn token_decoder(options: &DecodingOptions, group: usize, eot: u32) -> Result<TokenDecoder> {
    let Some(beam_size) = options.beam_size else {
        let decoder = GreedyDecoder::new(group, eot, options.temperature, options.seed);
        return Ok(TokenDecoder::Greedy(decoder));
    };
    let patience = options.patience.filter(|p| *p != 0.0).unwrap_or(1.0);
    let max_candidates = (beam_size as f64 * patience).round_ties_even();
    if !(max_candidates >= 1.0 && max_candidates.is_finite()) {
        let reason = format!("{patience} times beam_size {beam_size} leaves no candidate");
        return Err(Error::Option {
            option: "patience",
            reason,
        });
    }
    let decoder = BeamSearchDecoder::new(beam_size, max_candidates as usize, eot);
    Ok(TokenDecoder::Beam(decoder))
}

/// What stands before the start sequence: hotwords and the end of the earlier text that half the context has
/// room for, opened by their token. A window begins as faster-whisper's does, save that there both together may
/// fill the context: here the earlier text gives way, so that a quarter is left for the window's own.
fn previous_text(
    vocabulary: &Vocabulary,
    options: &DecodingOptions,
    start_len: usize,
    n_text_ctx: usize,
) -> Vec<u32> {
    let half = n_text_ctx / 2;
    let hotwords = match options.prefix.is_empty() {
        true => &options.hotwords[..options.hotwords.len().min(half.saturating_sub(1))],
        false => &[],
    };
    let mut tokens = vec![vocabulary.sot_prev];
    tokens.extend_from_slice(hotwords);
    let left = (n_text_ctx - n_text_ctx / 4).saturating_sub(tokens.len() + start_len);
    let text = last_tokens(&options.prompt, half as isize - 1);
    let skipped = match hotwords {
        [] => 0,
        _ => text.len().saturating_sub(left),
    };
    tokens.extend_from_slice(&text[skipped..]);
    match tokens.len() {
        1 => Vec::new(),
        _ => tokens,
    }
}

/// Python's `tokens[-n:]`: the last `n`; all of them where `n` is 0; without the first `-n` where
/// it is negative.
#[must_use]
pub fn last_tokens(tokens: &[u32], n: isize) -> &[u32] {
    let skipped = match n {
        1.. => tokens.len().saturating_sub(n.unsigned_abs()),
        _ => n.unsigned_abs().min(tokens.len()),
    };
    &tokens[skipped..]
}
