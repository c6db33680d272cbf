//! Files of test vectors: rows of inputs with the answers that vLLM's own selector gave.
//!
//! A row has 16 fields between white space; `-` stands for unset or none. The first letter of the
//! row's name says which rules it is for: `P` is `2026-03`, `A` is `2026-08`.

use super::capability::{FP8_NEEDS_FA3, MM_PREFIX_NEEDS_FA4};
use super::names::BackendName;
use super::objections::Objection;
use super::query::{AttentionQuery, AttentionType, Dtype, Flags, Machine, ModelKind, Platform};
use super::rule_set::RuleSet;
use super::select::{Refusal, Rejection, select};

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows read, unreadable ones included.
    pub rows: usize,
    /// One text for each row that differs or cannot be read.
    pub mismatches: Vec<String>,
}

const BACKENDS: [(&str, &str); 8] = [
    ("RA", "ROCM_ATTN"),
    ("FA", "ROCM_AITER_FA"),
    ("UA", "ROCM_AITER_UNIFIED_ATTN"),
    ("TA", "TRITON_ATTN"),
    ("FX", "FLEX_ATTENTION"),
    ("FL", "FLASH_ATTN"),
    ("FI", "FLASHINFER"),
    ("TQ", "TURBOQUANT"),
];

const REASONS: [(&str, Objection); 14] = [
    ("hs", Objection::HeadSize),
    ("dt", Objection::Dtype),
    ("kv", Objection::KvCacheDtype),
    ("bs", Objection::BlockSize),
    ("mm", Objection::MmPrefix),
    ("sk", Objection::Sinks),
    ("ph", Objection::PerHeadQuantScales),
    ("cc", Objection::ComputeCapability),
    ("sw", Objection::SlidingWindow),
    ("nc", Objection::NonCausal),
    ("bi", Objection::BatchInvariance),
    ("kc", Objection::KvConnector),
    ("imp", Objection::ImportError),
    ("mla", Objection::NonMla),
];

/// A row's three fields of answers, in the file's abbreviations.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    outcome: String,
    valid: String,
    rejected: String,
}

struct Row {
    rules: RuleSet,
    machine: Machine,
    model: ModelKind,
    query: AttentionQuery,
    requested: Option<BackendName>,
    expected: Expected,
}

/// Runs every row of a file's text. The header, empty lines and lines from `#` on are no rows.
#[must_use]
pub fn check(text: &str) -> Report {
    let mut report = Report::default();
    for (index, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some(&id) = fields.first() else { continue };
        if id.starts_with('#') || id == "id" {
            continue;
        }
        report.rows += 1;
        match Row::parse(&fields) {
            Err(reason) => {
                report.mismatches.push(format!(
                    "{id} (line {}): cannot be read: {reason}",
                    index + 1
                ));
            }
            Ok(row) => {
                let got = row.run();
                if got != row.expected {
                    report.mismatches.push(difference(id, &row.expected, &got));
                }
            }
        }
    }
    report
}

fn difference(id: &str, expected: &Expected, got: &Expected) -> String {
    let columns = [
        ("outcome", &expected.outcome, &got.outcome),
        ("valid", &expected.valid, &got.valid),
        ("rejected", &expected.rejected, &got.rejected),
    ];
    let parts: Vec<String> = columns
        .iter()
        .filter(|(_, expected, got)| expected != got)
        .map(|(column, expected, got)| format!("{column} expected {expected}, got {got}"))
        .collect();
    format!("{id}: {}", parts.join("; "))
}

impl Row {
    fn parse(fields: &[&str]) -> Result<Self, String> {
        let &[
            id,
            arch,
            aiter,
            use_aiter,
            mha,
            encoder_decoder,
            attn_type,
            dtype,
            head_size,
            kv,
            block,
            flags,
            requested,
            outcome,
            valid,
            rejected,
        ] = fields
        else {
            return Err(format!("{} fields instead of 16", fields.len()));
        };
        let rules = match id.chars().next() {
            Some('P') => RuleSet::March2026,
            Some('A') => RuleSet::August2026,
            _ => return Err("its name begins with neither P nor A".to_owned()),
        };
        let model = if yes(encoder_decoder)? {
            ModelKind::EncoderDecoder
        } else {
            ModelKind::Decoder
        };
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
        let dtype = Dtype::parse(dtype).map_err(|e| e.to_string())?;
        let query = AttentionQuery {
            kv_cache_dtype: given(kv).unwrap_or("auto").to_owned(),
            block_size: given(block).map(number).transpose()?,
            flags: parse_flags(flags)?,
            ..AttentionQuery::new(parse_type(attn_type)?, number(head_size)?, dtype)
        };
        let expected = Expected {
            outcome: outcome.to_owned(),
            valid: valid.to_owned(),
            rejected: rejected.to_owned(),
        };
        Ok(Self {
            rules,
            machine: machine(arch, aiter, use_aiter, mha)?,
            model,
            query,
            requested: given(requested)
                .map(|text| backend(rules, text))
                .transpose()?,
            expected,
        })
    }

    fn run(&self) -> Expected {
        let none = || "-".to_owned();
        let answer = select(
            self.rules,
            &self.machine,
            self.model,
            self.requested,
            &self.query,
        );
        match answer {
            Ok(selection) if self.requested == Some(selection.chosen) => Expected {
                outcome: short(selection.chosen),
                valid: none(),
                rejected: none(),
            },
            Ok(selection) => {
                let valid: Vec<String> = selection.valid.iter().map(|b| short(*b)).collect();
                Expected {
                    outcome: short(selection.chosen),
                    valid: valid.join(","),
                    rejected: self.rejected_text(&selection.rejected),
                }
            }
            Err(Refusal::NoneValid { rejected, .. }) => Expected {
                outcome: "NONE".to_owned(),
                valid: none(),
                rejected: self.rejected_text(&rejected),
            },
            Err(Refusal::Explicit { objections, .. }) => {
                let rejected = self.reasons_text(&objections);
                Expected {
                    outcome: "ERR".to_owned(),
                    valid: none(),
                    rejected,
                }
            }
            Err(other) => Expected {
                outcome: "ERR".to_owned(),
                valid: none(),
                rejected: other.to_string(),
            },
        }
    }

    fn rejected_text(&self, rejected: &[Rejection]) -> String {
        if rejected.is_empty() {
            return "-".to_owned();
        }
        let entries: Vec<String> = rejected
            .iter()
            .map(|(backend, reasons)| format!("{}:{}", short(*backend), self.reasons_text(reasons)))
            .collect();
        entries.join(";")
    }

    fn reasons_text(&self, objections: &[Objection]) -> String {
        let codes: Vec<String> = objections.iter().map(|o| self.code(o)).collect();
        codes.join("+")
    }

    fn code(&self, objection: &Objection) -> String {
        match objection {
            Objection::AttentionType(t) if *t == self.query.attn_type => "at".to_owned(),
            Objection::Other(text) if text == FP8_NEEDS_FA3 => "x8".to_owned(),
            Objection::Other(text) if text == MM_PREFIX_NEEDS_FA4 => "xm".to_owned(),
            other => REASONS
                .iter()
                .find(|(_, o)| o == other)
                .map_or_else(|| other.to_string(), |(code, _)| (*code).to_owned()),
        }
    }
}

fn machine(arch: &str, aiter: &str, use_aiter: &str, mha: &str) -> Result<Machine, String> {
    let mut machine = Machine {
        platform: Platform::Rocm,
        ..Machine::default()
    };
    machine.arch = given(arch).map(str::to_owned);
    if yes(aiter)? {
        machine.installed.insert("aiter".to_owned());
    }
    let variables = [
        ("VLLM_ROCM_USE_AITER", use_aiter),
        ("VLLM_ROCM_USE_AITER_MHA", mha),
    ];
    for (name, value) in variables {
        machine
            .env
            .extend(given(value).map(|v| (name.to_owned(), v.to_owned())));
    }
    Ok(machine)
}

fn given(text: &str) -> Option<&str> {
    (text != "-").then_some(text)
}

fn yes(text: &str) -> Result<bool, String> {
    match text {
        "y" | "1" => Ok(true),
        "n" | "0" | "-" => Ok(false),
        _ => Err(format!("{text:?} is neither y nor n")),
    }
}

fn short(backend: BackendName) -> String {
    let name = backend.as_str();
    BACKENDS
        .iter()
        .find(|(_, full)| *full == name)
        .map_or(name, |(short, _)| short)
        .to_owned()
}

fn backend(rules: RuleSet, text: &str) -> Result<BackendName, String> {
    let full = BACKENDS
        .iter()
        .find(|(short, _)| *short == text)
        .map_or(text, |(_, full)| full);
    BackendName::of(rules, full).ok_or_else(|| format!("{text:?} is no backend of {rules}"))
}

fn parse_type(text: &str) -> Result<AttentionType, String> {
    match text {
        "DEC" => Ok(AttentionType::Decoder),
        "ENC" => Ok(AttentionType::Encoder),
        "EO" => Ok(AttentionType::EncoderOnly),
        "XD" => Ok(AttentionType::EncoderDecoder),
        _ => Err(format!("{text:?} is none of DEC, ENC, EO, XD")),
    }
}

fn parse_flags(text: &str) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for flag in given(text)
        .into_iter()
        .flat_map(|t| t.split([',', '+', ';', '|']))
    {
        *match flag {
            "sink" => &mut flags.sink,
            "mmp" => &mut flags.mm_prefix,
            "ncausal" => &mut flags.non_causal,
            "phq" => &mut flags.per_head_quant_scales,
            "swa" => &mut flags.sliding_window,
            "binv" => &mut flags.batch_invariant,
            "kvc" => &mut flags.kv_connector,
            _ => return Err(format!("unknown flag {flag:?}")),
        } = true;
    }
    Ok(flags)
}
