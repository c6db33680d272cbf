//! The selector: what vLLM would answer for one decoder layer. Pure, and no I/O.
//!
//! In: rule set, machine, kind of model, the requested backend if any, and the query. Out: the
//! choice with every rejection and its reasons, or the refusal, both in vLLM's order and words.
//! Whether a kernel for the choice exists *here* is [`super::plan`]'s question.

use std::fmt;

use super::arch::{Arch, ArchError};
use super::capability::{self, Gpu};
use super::names::BackendName;
use super::objections::{self, Objection};
use super::query::{AttentionQuery, Machine, ModelKind, Platform};
use super::rocm::{self, Gates};
use super::rule_set::RuleSet;

/// How a choice came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// From the list, best first.
    Auto,
    /// It was asked for.
    Explicit,
    /// Something else was asked for, which `2026-08` passes over for a TurboQuant cache.
    AutoInsteadOf(BackendName),
    /// The platform has one answer to everything; this was asked for.
    Only(Option<BackendName>),
}

/// A backend with what stands against it.
pub type Rejection = (BackendName, Vec<Objection>);

/// The selector's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The backend that vLLM would use.
    pub chosen: BackendName,
    /// How it was found.
    pub how: How,
    /// All candidates in order of preference; the chosen one alone where it was asked for.
    pub candidates: Vec<BackendName>,
    /// The candidates that can serve the query, in order of preference.
    pub valid: Vec<BackendName>,
    /// The others, in order of preference.
    pub rejected: Vec<Rejection>,
}

/// Why there is no answer. Prints as vLLM's error does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The machine has no arch string to go by.
    NoArch,
    /// The arch string has an unknown shape.
    Arch(ArchError),
    /// The backend that was asked for cannot serve the query. There is no fallback.
    Explicit {
        /// The backend.
        backend: BackendName,
        /// Everything against it.
        objections: Vec<Objection>,
    },
    /// No candidate can serve the query.
    NoneValid {
        /// The platform's name.
        platform: &'static str,
        /// The query in vLLM's words.
        config: String,
        /// Every candidate with everything against it.
        rejected: Vec<Rejection>,
    },
    /// The encoder's chooser doesn't take the backend that was asked for.
    NotForEncoder {
        /// The backend.
        backend: BackendName,
        /// Those it takes.
        supported: &'static [BackendName],
    },
    /// CPU attention has neither latent nor sparse attention.
    CpuCannot(&'static str),
}

impl Refusal {
    /// What stands against the backend that was asked for, or against each candidate.
    #[must_use]
    pub fn rejected(&self) -> Vec<Rejection> {
        match self {
            Refusal::Explicit {
                backend,
                objections,
            } => vec![(*backend, objections.clone())],
            Refusal::NoneValid { rejected, .. } => rejected.clone(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoArch => f.write_str("the GPU's arch is not known: give it, as in gfx942"),
            Refusal::Arch(error) => error.fmt(f),
            Refusal::Explicit {
                backend,
                objections,
            } => write!(
                f,
                "Selected backend AttentionBackendEnum.{backend} is not valid for this \
                 configuration. Reason: {}",
                objections::quoted(objections)
            ),
            Refusal::NoneValid {
                platform,
                config,
                rejected,
            } => write!(
                f,
                "No valid attention backend found for {platform} with {config}. Reasons: {}.",
                reasons_text(rejected)
            ),
            Refusal::NotForEncoder { backend, supported } => {
                let names: Vec<&str> = supported.iter().map(|b| b.as_str()).collect();
                write!(
                    f,
                    "Backend AttentionBackendEnum.{backend} is not supported for vit attention. \
                     Supported backends are: [{}]",
                    names.join(", ")
                )
            }
            Refusal::CpuCannot(what) => write!(f, "{what} is not supported on CPU."),
        }
    }
}

/// `{ROCM_ATTN: [head_size not supported], TRITON_ATTN: [a, b]}`.
fn reasons_text(rejected: &[Rejection]) -> String {
    let entries: Vec<String> = rejected
        .iter()
        .map(|(b, reasons)| format!("{b}: {}", objections::bare(reasons)))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// Answers for one decoder layer as vLLM would.
///
/// # Errors
/// [`Refusal`] in vLLM's words.
pub fn select(
    rules: RuleSet,
    machine: &Machine,
    model: ModelKind,
    requested: Option<BackendName>,
    query: &AttentionQuery,
) -> Result<Selection, Refusal> {
    let candidates = match machine.platform {
        Platform::Cpu => return only_cpu(requested, query),
        Platform::Rocm => rocm::priorities(rules, Gates::of(rules, machine), model, query),
        Platform::Cuda => cuda_priorities(rules, machine),
    };
    let gpu = gpu(rules, machine)?;
    let against = |backend| objections_to(rules, machine, gpu, backend, query);
    let mut how = How::Auto;
    if let Some(backend) = requested {
        let objections = against(backend);
        if objections.is_empty() {
            return Ok(alone(backend, How::Explicit));
        }
        let passes_over =
            rules == RuleSet::August2026 && query.kv_cache_dtype.starts_with("turboquant");
        if !passes_over {
            return Err(Refusal::Explicit {
                backend,
                objections,
            });
        }
        how = How::AutoInsteadOf(backend);
    }
    let (mut valid, mut rejected) = (Vec::new(), Vec::new());
    for &backend in &candidates {
        let objections = against(backend);
        if objections.is_empty() {
            valid.push(backend);
        } else {
            rejected.push((backend, objections));
        }
    }
    match valid.first() {
        Some(&chosen) => Ok(Selection {
            chosen,
            how,
            candidates,
            valid,
            rejected,
        }),
        None => {
            let config = query.config_text(rules);
            Err(Refusal::NoneValid {
                platform: machine.platform.name(),
                config,
                rejected,
            })
        }
    }
}

/// Everything against one backend on a machine: vLLM's `validate_configuration`, or the failing
/// import alone.
fn objections_to(
    rules: RuleSet,
    machine: &Machine,
    gpu: Gpu,
    backend: BackendName,
    query: &AttentionQuery,
) -> Vec<Objection> {
    let missing = machine.unimportable.contains(backend.as_str())
        || (backend == BackendName::FLASHINFER && !machine.has_module("flashinfer"));
    match capability::row(rules, machine.platform, backend) {
        Some(row) if !missing => row.objections(rules, gpu, query),
        _ => vec![Objection::ImportError],
    }
}

fn gpu(rules: RuleSet, machine: &Machine) -> Result<Gpu, Refusal> {
    let arch = machine.arch.as_deref().map(Arch);
    if machine.platform != Platform::Rocm {
        let capability = arch.and_then(Arch::cuda_capability);
        return Ok(Gpu {
            suits_aiter: false,
            capability,
        });
    }
    let arch = arch.ok_or(Refusal::NoArch)?;
    let capability = arch.capability().map_err(Refusal::Arch)?;
    Ok(Gpu {
        suits_aiter: arch.suits_aiter(rules),
        capability,
    })
}

/// CUDA's list, for contrast: vLLM's order, with the ROCm tables for what each can do.
fn cuda_priorities(rules: RuleSet, machine: &Machine) -> Vec<BackendName> {
    let arch = Arch(machine.arch.as_deref().unwrap_or(""));
    let blackwell = arch.cuda_capability().is_some_and(|(major, _)| major == 10);
    let mut list = vec![BackendName::FLASH_ATTN, BackendName::FLASHINFER];
    if blackwell {
        list.reverse();
    }
    list.extend([BackendName::TRITON_ATTN, BackendName::FLEX_ATTENTION]);
    if rules == RuleSet::August2026 {
        list.push(BackendName::TURBOQUANT);
    }
    list
}

fn only_cpu(requested: Option<BackendName>, query: &AttentionQuery) -> Result<Selection, Refusal> {
    if query.flags.mla {
        return Err(Refusal::CpuCannot("MLA"));
    }
    if query.flags.sparse {
        return Err(Refusal::CpuCannot("Sparse Attention"));
    }
    Ok(alone(BackendName::CPU_ATTN, How::Only(requested)))
}

/// An answer without alternatives.
pub(super) fn alone(chosen: BackendName, how: How) -> Selection {
    Selection {
        chosen,
        how,
        candidates: vec![chosen],
        valid: vec![chosen],
        rejected: Vec::new(),
    }
}

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Only for those who look for it.
    Debug,
    /// Worth a line.
    Info,
    /// Something may be wrong.
    Warning,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warning => "WARNING",
        })
    }
}

/// A line of vLLM's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How loud.
    pub level: Level,
    /// The text.
    pub text: String,
}

impl LogLine {
    pub(super) fn info(text: String) -> Self {
        Self {
            level: Level::Info,
            text,
        }
    }

    pub(super) fn warning(text: String) -> Self {
        Self {
            level: Level::Warning,
            text,
        }
    }
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.level, self.text)
    }
}

impl Selection {
    /// What vLLM would log of this decision about a decoder layer.
    #[must_use]
    pub fn log(&self, rules: RuleSet, machine: &Machine, query: &AttentionQuery) -> Vec<LogLine> {
        let chosen = self.chosen;
        let mut lines = match self.how {
            How::Explicit => vec![LogLine::info(format!(
                "Using {chosen} backend (selected via --attention-backend)."
            ))],
            How::Only(Some(asked)) if asked != chosen => vec![LogLine::info(format!(
                "Cannot use AttentionBackendEnum.{asked} backend on CPU."
            ))],
            How::Only(_) => Vec::new(),
            How::Auto | How::AutoInsteadOf(_) => {
                let debug = format!(
                    "Some attention backends are not valid for {} with {}. Reasons: {}.",
                    machine.platform.name(),
                    query.config_text(rules),
                    reasons_text(&self.rejected)
                );
                let debug = LogLine {
                    level: Level::Debug,
                    text: debug,
                };
                vec![debug, LogLine::info(self.auto_text(query))]
            }
        };
        let arch = Arch(machine.arch.as_deref().unwrap_or(""));
        if machine.platform == Platform::Rocm && arch.capability() == Ok(None) {
            lines.insert(0, LogLine::warning(arch.capability_warning()));
        }
        lines
    }

    fn auto_text(&self, query: &AttentionQuery) -> String {
        let chosen = self.chosen;
        let valid: Vec<String> = self.valid.iter().map(|b| format!("'{b}'")).collect();
        let valid = format!("[{}]", valid.join(", "));
        if self.rejected.is_empty() {
            return format!("Using {chosen} backend out of potential backends: {valid}.");
        }
        let rejected: Vec<&str> = self.rejected.iter().map(|(b, _)| b.as_str()).collect();
        format!(
            "Found incompatible backend(s) [{}] with {}. Overriding with {chosen} out of potential \
             backends: {valid}.",
            rejected.join(", "),
            query.attn_type
        )
    }
}
