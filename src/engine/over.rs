//! From the ground that is laid to a transcript: the language, then the windows.

use std::borrow::Cow;

use super::client::Client;
use super::spoken::Ground;
use super::{Control, Engine};
use crate::error::Result;
use crate::longform::{LanguageRun, Recording, transcribe_batched, transcribe_sequential};
use crate::options::TranscribeOptions;
use crate::transcript::{SegmentSink, Transcript};

/// A recording on its way from ground to transcript, whole or part by part.
pub(super) struct Hearing<'a> {
    client: Client<'a>,
    recording: Recording<'a>,
    batched: bool,
    /// Which language is spoken where, if segments are to say it.
    runs: Vec<LanguageRun>,
}

impl<'a> Hearing<'a> {
    /// Begins with the first ground, which tells the language if none is given.
    pub fn new(
        engine: &'a Engine,
        ground: &Ground,
        mut options: TranscribeOptions,
        sink: &mut dyn SegmentSink,
        control: &'a Control,
    ) -> Result<Self> {
        let client = Client::new(engine, ground.mel.clone(), control, &options)?;
        let (tokenizer, mut runs) = (&engine.0.tokenizer, Vec::new());
        if options.decoding.language.is_none() {
            let language;
            (language, runs) = match tokenizer.is_multilingual() {
                true => ground.languages(&client, &options, sink)?,
                false => ("en".into(), Vec::new()),
            };
            options.decoding.language = Some(language);
        }
        let n_text_ctx = engine.network().dims().n_text_ctx;
        Ok(Self {
            client,
            batched: options.batch_size.is_some(),
            recording: Recording::new(tokenizer, options, n_text_ctx),
            runs,
        })
    }

    /// Transcribes what there is to transcribe of a ground, on its own clock.
    pub fn part(
        &mut self,
        ground: &Ground,
        sink: &mut dyn SegmentSink,
        report: &mut dyn FnMut(f64),
    ) -> Result<Transcript> {
        let mut content = Cow::Borrowed(&ground.content);
        if !self.runs.is_empty() {
            content.to_mut().runs.clone_from(&self.runs);
        }
        self.client.hear(ground.mel.clone());
        let (recording, decoder) = (&mut self.recording, &mut self.client);
        if !self.batched {
            return transcribe_sequential(&content, recording, decoder, sink, report);
        }
        let loudness = ground.mel.loudness()?;
        transcribe_batched(&content, &loudness, recording, decoder, sink, report)
    }
}

impl Engine {
    /// Transcribes what there is to transcribe of a recording, on its own clock.
    pub(super) fn over(
        &self,
        ground: &Ground,
        options: TranscribeOptions,
        sink: &mut dyn SegmentSink,
        report: &mut dyn FnMut(f64),
        control: &Control,
    ) -> Result<Transcript> {
        Hearing::new(self, ground, options, sink, control)?.part(ground, sink, report)
    }
}
