//! From the ground that is laid to a transcript: the language, then the windows.

use std::borrow::Cow;

use super::client::Client;
use super::spoken::Ground;
use super::{Control, Engine};
use crate::error::Result;
use crate::longform::{transcribe_batched, transcribe_sequential};
use crate::options::TranscribeOptions;
use crate::transcript::{SegmentSink, Transcript};

impl Engine {
    /// Transcribes what there is to transcribe of a recording, on its own clock.
    pub(super) fn over(
        &self,
        ground: &Ground,
        mut options: TranscribeOptions,
        sink: &mut dyn SegmentSink,
        report: &mut dyn FnMut(f64),
        control: &Control,
    ) -> Result<Transcript> {
        let mel = &ground.mel;
        let mut content = Cow::Borrowed(&ground.content);
        let mut client = Client::new(self, mel, control, &options)?;
        if options.decoding.language.is_none() {
            options.decoding.language = Some(if self.0.tokenizer.is_multilingual() {
                let (language, runs) = ground.languages(&client, &options, sink)?;
                if !runs.is_empty() {
                    content.to_mut().runs = runs;
                }
                language
            } else {
                "en".into()
            });
        }
        let content = &*content;
        let tokenizer = &self.0.tokenizer;
        if options.batch_size.is_none() {
            return transcribe_sequential(content, tokenizer, &options, &mut client, sink, report);
        }
        let loudness = mel.loudness()?;
        let decoder = &mut client;
        transcribe_batched(
            content, &loudness, tokenizer, &options, decoder, sink, report,
        )
    }
}
