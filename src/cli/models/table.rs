//! The table of models: what each costs and what it gives, from the catalogue and this machine.

use crate::cli::speed::{Rates, bytes_per_parameter};
use crate::model::ComputeType;
use crate::weights::hub::{self, CatalogEntry, LocalModel};

/// A model as somebody who chooses one sees it.
#[derive(Clone, Debug)]
pub struct Choice {
    pub entry: &'static CatalogEntry,
    pub download: u64,
    /// In 32-bit floats, and in bytes.
    pub memory: [u64; 2],
    /// Times real time, greedy, in 32-bit floats and in bytes.
    pub speed: [f64; 2],
}

impl Choice {
    pub fn of(entry: &'static CatalogEntry, rates: &[Rates; 2]) -> Self {
        let dims = entry.dims();
        let memory = |compute| {
            let weights = bytes_per_parameter(&dims, compute);
            // Two windows on their way, with five beams each.
            let state = crate::model::cpu::state_bytes(&dims, compute);
            weights + (2 * state.window + 10 * state.row) as u64
        };
        Self {
            entry,
            download: dims.parameters() as u64 * u64::from(entry.bytes_per_weight),
            memory: [memory(ComputeType::F32), memory(ComputeType::Int8)],
            speed: rates.each_ref().map(|rates| rates.times_real_time(&dims)),
        }
    }

    /// Published word errors in percent: LibriSpeech's clean and other part.
    pub fn errors(&self) -> String {
        let Some(published) = &self.entry.published else {
            return "-".to_owned();
        };
        // Halves go up, as people round.
        let number = |n: f64| format!("{:.1}", (n * 10.0).round() / 10.0);
        let other = published.other.map_or("-".to_owned(), number);
        format!("{} / {other} {}", number(published.clean), published.source)
    }

    pub fn languages(&self) -> String {
        match self.entry.dims().n_vocab {
            51_864 => "English".to_owned(),
            _ if self.entry.name.starts_with("distil") => "English".to_owned(),
            51_865 => "99".to_owned(),
            _ => "100".to_owned(),
        }
    }
}

/// Megabytes up to a gigabyte, then gigabytes.
pub fn size(bytes: u64) -> String {
    let mb = bytes as f64 / 1e6;
    match mb < 1000.0 {
        true => format!("{mb:.0} MB"),
        false => format!("{:.1} GB", mb / 1000.0),
    }
}

const LEGEND: &str = "\
download: about, from openai's or distil-whisper's repository; memory and speed (times real time, one
  beam): in f32 / int8
errors: published word errors in percent on LibriSpeech's clean / other recordings, read English
  (M: the model's card, L: Open ASR Leaderboard, whisper decoding greedily); what is spoken freely or
  in other languages is harder, and gains more from a larger model
";

/// All models of the catalogue and those that are here beside, a line each, and what the columns mean.
pub fn text(rates: &[Rates; 2], here: &[LocalModel]) -> String {
    let header = [
        "model",
        "download",
        "memory",
        "speed",
        "languages",
        "errors",
        "here",
    ];
    let mut lines = vec![row(header)];
    for entry in hub::catalog() {
        let local = here.iter().find(|model| model.name == entry.name);
        lines.push(choice_row(&Choice::of(entry, rates), local));
    }
    for model in here.iter().filter(|model| hub::find(&model.name).is_none()) {
        lines.push(row([&model.name, "", "", "", "?", "", &size(model.bytes)]));
    }
    let how = match rates.each_ref().map(|rates| rates.measured) {
        [true, true] => "by rates that `undertone bench` measured here",
        [false, false] => "estimated from plain loops; `undertone bench FILE` measures",
        _ => "measured by `undertone bench` for one compute type, estimated for the other",
    };
    format!(
        "{}\n\n{LEGEND}speed: {how}\n* does not translate into English; also called large-v3-turbo",
        lines.join("\n")
    )
}

fn row(cells: [&str; 7]) -> String {
    let [name, download, memory, speed, languages, errors, here] = cells;
    let line = format!(
        "{name:<17} {download:>8}  {memory:>16} {speed:>11}  {languages:<9} {errors:<13} {here}"
    );
    line.trim_end().to_owned()
}

fn choice_row(choice: &Choice, local: Option<&LocalModel>) -> String {
    let entry = choice.entry;
    let [f32, int8] = choice.memory.map(size);
    let [slow, fast] = choice.speed.map(|speed| format!("{speed:.0}"));
    let mark = match entry.translates || choice.languages() == "English" {
        true => "",
        false => "*",
    };
    let name = match entry.aliases.first() {
        Some(alias) if alias.len() < 8 => format!("{} ({alias})", entry.name),
        _ => entry.name.clone(),
    };
    row([
        &name,
        &size(choice.download),
        &format!("{f32} / {int8}"),
        &format!("{slow} / {fast}"),
        &format!("{}{mark}", choice.languages()),
        &choice.errors(),
        &local.map_or(String::new(), |model| size(model.bytes)),
    ])
}
