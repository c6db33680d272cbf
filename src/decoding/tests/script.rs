//! Logits that are a pure function of the tokens sampled so far, and the loop that feeds them.

use serde::Deserialize;

use super::feed::Decoder;
use crate::decoding::sampling::mix;
use crate::decoding::{DecodingResult, Step, WindowDecoder};
use crate::tokenizer::Tokenizer;

/// The rule, as `tests/golden/decoding/generate.py` has it: same names, same order of additions.
#[derive(Clone, Debug, Deserialize)]
pub struct Script {
    pub seed: u64,
    spread: f32,
    peak: f32,
    eot_base: f32,
    eot_slope: f32,
    ts_all: f32,
    ts_peak: f32,
    ts_pace: u64,
    quantum: f32,
    no_speech: f32,
    lifted: Vec<usize>,
}

/// A script over a vocabulary.
pub struct Scripted<'a> {
    script: &'a Script,
    tokenizer: &'a Tokenizer,
    base: Vec<f32>,
}

impl<'a> Scripted<'a> {
    pub fn new(script: &'a Script, tokenizer: &'a Tokenizer, n_vocab: u64) -> Self {
        let draw = |v| (mix(script.seed + v) >> 40) as f32 / (1 << 24) as f32 * script.spread;
        Self {
            script,
            tokenizer,
            base: (0..n_vocab).map(draw).collect(),
        }
    }

    fn logits(&self, state: u64, n: u64) -> Vec<f32> {
        let script = self.script;
        let mut x = self.base.clone();
        let turn = state % x.len() as u64;
        x.rotate_left(turn as usize);
        let (eot, begin) = (
            self.tokenizer.eot(),
            self.tokenizer.timestamp_begin() as usize,
        );
        for i in 0..8 {
            let token = mix(state.wrapping_add(1 + i)) % u64::from(eot);
            x[token as usize] += script.peak + 0.5 * i as f32;
        }
        x[eot as usize] += script.eot_base + script.eot_slope * n as f32;
        x[begin..].iter_mut().for_each(|x| *x += script.ts_all);
        for i in 0..4 {
            let late = n * script.ts_pace + mix(state.wrapping_add(100 + i)) % 50;
            x[begin + late.min(1500) as usize] += script.ts_peak + 0.5 * i as f32;
        }
        script.lifted.iter().for_each(|token| x[*token] += 30.0);
        if script.quantum > 0.0 {
            x.iter_mut()
                .for_each(|x| *x = (*x / script.quantum).floor() * script.quantum);
        }
        x
    }

    pub fn at(&self, sampled: &[u32]) -> Vec<f32> {
        let start = mix(self.script.seed ^ 0x5eed);
        let state = sampled
            .iter()
            .fold(start, |h, token| mix(h ^ u64::from(*token)));
        self.logits(state, sampled.len() as u64)
    }

    pub fn at_sot(&self) -> Vec<f32> {
        let mut x = self.logits(mix(self.script.seed ^ 0x507), 0);
        if let Some(token) = self.tokenizer.no_speech() {
            x[token as usize] += self.script.no_speech;
        }
        x
    }

    /// Steps a window to its end.
    pub fn decode(&self, decoder: &mut WindowDecoder) -> DecodingResult {
        let sot = self.at_sot();
        let alone = decoder.sot_index() + 1 == decoder.prompt().len();
        let last = if alone { sot.clone() } else { self.at(&[]) };
        let mut rows = vec![Vec::new()];
        let mut step = decoder.start(&sot, &last);
        while let Step::Continue(next) = step {
            let follow = |row: &crate::decoding::rows::NextRow| {
                let parent: &Vec<u32> = &rows[row.parent];
                [parent.as_slice(), &[row.token]].concat()
            };
            rows = next.iter().map(follow).collect();
            let logits: Vec<f32> = rows.iter().flat_map(|row| self.at(row)).collect();
            step = decoder.step(&logits, self.base.len());
        }
        decoder.finish()
    }
}
