//! `attention explain`, `attention list` and `attention check`.
//!
//! Functions over plain values that return the text to print and the exit code.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::attention::vllm::capability::{self, Capability, Gpus, HeadSizes, KvCacheDtypes};
use crate::attention::vllm::founding::{PlatformProbe, rocm_attention_config};
use crate::attention::vllm::vectors;
use crate::attention::{
    self, Answer, AttentionQuery, AttentionType, Dtype, Kind, LogLine, Machine, Platform, Registry,
    Rejection, Request, Role, RuleSet,
};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};

#[cfg(test)]
mod tests;

/// What a command prints and the code it ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output, with its last line break.
    pub text: String,
    /// 0 where all is well, 1 where rows differ.
    pub code: u8,
}

/// The machine that the options describe. Without `--platform` (or with `auto`) an arch beginning
/// with `gfx` means rocm, one with `sm` means cuda, and no arch means the CPU. `--aiter` says that
/// the package is installed; switching it on is `--env VLLM_ROCM_USE_AITER=1`, as on a real machine.
///
/// # Errors
/// [`Error::Option`] for an unknown platform, for `--env` without `=`, and for a description of a
/// GPU machine on the platform cpu.
pub fn machine(
    platform: Option<&str>,
    arch: Option<&str>,
    aiter: bool,
    installed: &[String],
    environment: &[String],
) -> Result<Machine> {
    let platform = match platform.filter(|p| !p.eq_ignore_ascii_case("auto")) {
        Some(name) => Platform::parse(name)?,
        None if arch.is_some_and(|a| a.starts_with("gfx")) => Platform::Rocm,
        None if arch.is_some_and(|a| a.starts_with("sm")) => Platform::Cuda,
        None => Platform::Cpu,
    };
    if platform == Platform::Cpu && (arch.is_some() || aiter) {
        let reason = "--arch and --aiter describe a GPU machine: say --platform rocm".to_owned();
        return Err(Error::Option {
            option: "platform",
            reason,
        });
    }
    let mut machine = Machine {
        platform,
        arch: arch.map(str::to_owned),
        ..Machine::default()
    };
    let listed = installed.iter().map(|name| name.trim().to_owned());
    machine
        .installed
        .extend(listed.filter(|name| !name.is_empty()));
    if aiter {
        machine.installed.insert("aiter".to_owned());
    }
    for text in environment {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Error::Option {
                option: "env",
                reason: format!("{text:?} is not K=V"),
            });
        };
        machine.env.insert(name.to_owned(), value.to_owned());
    }
    Ok(machine)
}

/// `attention explain`: for each role the choice, the candidates in order, each rejection with its
/// reasons, what vLLM would log, and whether a kernel is here. `model_name` is as typed, for what
/// vLLM's own test would ask of its server for a model of that name.
///
/// # Errors
/// Those of [`attention::answers`].
pub fn explain(
    request: &Request,
    registry: &Registry,
    dims: &ModelDimensions,
    model_name: Option<&str>,
    as_json: bool,
) -> Result<Outcome> {
    let (answers, log) = attention::answers(request, registry, dims)?;
    let text = if as_json {
        let value = explain_json(request, registry, &answers, &log, model_name);
        format!("{value:#}\n")
    } else {
        explain_text(request, registry, &answers, &log, model_name)
    };
    Ok(Outcome { text, code: 0 })
}

fn explain_text(
    request: &Request,
    registry: &Registry,
    answers: &[Answer],
    log: &[LogLine],
    model_name: Option<&str>,
) -> String {
    let mut text = format!(
        "rule set   {}\nplatform   {}\n",
        request.rules,
        platform_text(request)
    );
    let of_roles: usize = answers.iter().map(|a| a.log.len()).sum();
    for line in &log[..log.len() - of_roles] {
        _ = writeln!(text, "log        {line}");
    }
    for answer in answers {
        text += &answer_text(request, registry, answer);
    }
    if let Some(size) = attention::block_size(request, &answers[Role::DecoderSelf as usize]) {
        _ = writeln!(text, "\nblock size of the cache  {size}");
    }
    if let Some(founding) = founding_text(request, model_name) {
        _ = writeln!(text, "\nvLLM's own test would ask for  {founding}");
    }
    text
}

fn platform_text(request: &Request) -> String {
    let machine = &request.machine;
    let mut text = machine.platform.name().to_owned();
    if let Some(arch) = &machine.arch {
        _ = write!(text, " {arch}");
    }
    if !machine.installed.is_empty() {
        let modules: Vec<&str> = machine.installed.iter().map(String::as_str).collect();
        _ = write!(text, ", installed {}", modules.join(" "));
    }
    for (name, value) in &machine.env {
        _ = write!(text, ", {name}={value}");
    }
    text
}

fn answer_text(request: &Request, registry: &Registry, answer: &Answer) -> String {
    let query = &answer.query;
    let mut text = format!(
        "\n{} ({}, head size {}, {})\n",
        answer.role,
        kind(answer).name(),
        query.head_size,
        query.dtype.name()
    );
    let mut line = |key: &str, value: &str| _ = writeln!(text, "  {key:<9} {value}");
    match answer.name() {
        Ok(name) => line("choice", name),
        Err(refusal) => line("refused", &refusal.to_string()),
    }
    match &answer.vllm {
        Ok(selection) if answer.instead.is_some() => line("vLLM", selection.chosen.as_str()),
        Err(refusal) if answer.instead.is_some() => line("vLLM", &refusal.to_string()),
        _ => {}
    }
    if let Some(candidates) = candidates(answer) {
        line("priority", &candidates.join(", "));
    }
    for (backend, reasons) in rejections(answer) {
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        line("rejected", &format!("{backend}: {}", reasons.join(", ")));
    }
    for logged in &answer.log {
        line("log", &logged.to_string());
    }
    if answer.name().is_ok() {
        match attention::kernel(registry, answer) {
            Ok(backend) => line("kernel", backend.name()),
            Err(reason) => line("kernel", &format!("none: {reason}")),
        }
    }
    if request.machine.platform == Platform::Cpu && answer.instead.is_some() {
        line(
            "note",
            "on the CPU this engine goes by its own kernels and by what is asked for",
        );
    }
    text
}

fn kind(answer: &Answer) -> Kind {
    match answer.role {
        Role::Encoder => Kind::Encoder,
        Role::DecoderSelf | Role::DecoderCross => Kind::of(&answer.query),
    }
}

fn candidates(answer: &Answer) -> Option<Vec<&'static str>> {
    let selection = answer.vllm.as_ref().ok()?;
    Some(selection.candidates.iter().map(|b| b.as_str()).collect())
}

fn rejections(answer: &Answer) -> Vec<Rejection> {
    match &answer.vllm {
        Ok(selection) => selection.rejected.clone(),
        Err(refusal) => refusal.rejected(),
    }
}

/// What vLLM's test of translation would ask of its server, with its warning; it has no opinion
/// where the platform isn't ROCm.
fn founding_text(request: &Request, model_name: Option<&str>) -> Option<String> {
    let name = model_name?;
    let probe = match (request.machine.platform, &request.machine.arch) {
        (Platform::Rocm, Some(arch)) => PlatformProbe::Arch(arch),
        (Platform::Rocm, None) => PlatformProbe::ImportError,
        _ => return None,
    };
    let config = rocm_attention_config(request.rules, probe, name);
    let backend = config
        .backend
        .map_or("no backend", |b| b.as_str())
        .to_owned();
    Some(match config.warning {
        Some(warning) => format!("{backend} (warning: {warning})"),
        None => backend,
    })
}

fn explain_json(
    request: &Request,
    registry: &Registry,
    answers: &[Answer],
    log: &[LogLine],
    model_name: Option<&str>,
) -> Value {
    let machine = &request.machine;
    let roles: Vec<Value> = answers.iter().map(|a| answer_json(registry, a)).collect();
    json!({
        "rules": request.rules.name(),
        "platform": machine.platform.name(),
        "arch": machine.arch,
        "installed": machine.installed,
        "env": machine.env,
        "roles": roles,
        "log": log_json(log),
        "block_size": attention::block_size(request, &answers[Role::DecoderSelf as usize]),
        "founding": founding_text(request, model_name),
    })
}

fn answer_json(registry: &Registry, answer: &Answer) -> Value {
    let name = answer.name();
    let kernel = name.is_ok().then(|| attention::kernel(registry, answer));
    let rejected: Vec<Value> = rejections(answer)
        .iter()
        .map(|(backend, reasons)| {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            json!({ "backend": backend.as_str(), "reasons": reasons })
        })
        .collect();
    let valid = answer
        .vllm
        .as_ref()
        .ok()
        .map(|s| s.valid.iter().map(|b| b.as_str()).collect::<Vec<_>>());
    json!({
        "role": answer.role.key(),
        "kind": kind(answer).name(),
        "attn_type": answer.query.attn_type.value(),
        "dtype": answer.query.dtype.name(),
        "head_size": answer.query.head_size,
        "choice": name.ok(),
        "error": name.err().map(ToString::to_string),
        "vllm_choice": answer.vllm.as_ref().ok().map(|s| s.chosen.as_str()),
        "priority": candidates(answer),
        "valid": valid,
        "rejected": rejected,
        "log": log_json(&answer.log),
        "kernel": kernel.as_ref().and_then(|k| k.as_ref().ok()).map(|k| k.name().to_owned()),
        "kernel_error": kernel.and_then(std::result::Result::err),
    })
}

fn log_json(log: &[LogLine]) -> Vec<Value> {
    log.iter()
        .map(|l| json!({ "level": l.level.to_string(), "text": l.text }))
        .collect()
}

/// `attention list`: what each backend of vLLM's ROCm platform declares under both rule sets, and
/// what the kernels here can do.
#[must_use]
pub fn list(registry: &Registry) -> Outcome {
    let mut text = String::new();
    for rules in RuleSet::ALL {
        _ = writeln!(text, "vLLM's backends on ROCm, rule set {rules}\n");
        let mut rows = vec![LIST_HEADER.map(str::to_owned)];
        rows.extend(
            capability::table(rules)
                .iter()
                .map(|row| list_row(rules, registry, row)),
        );
        text += &aligned(&rows);
        text.push('\n');
    }
    _ = writeln!(text, "Kernels here, with the types of numbers each takes\n");
    let mut rows = vec![["name", "encoder", "decoder self", "decoder cross"].map(str::to_owned)];
    rows.extend(registry.iter().map(|backend| {
        let takes = |role: Role| {
            let dtypes = [Dtype::F16, Dtype::Bf16, Dtype::F32]
                .into_iter()
                .filter(|dtype| {
                    let query = AttentionQuery::new(role.attn_type(), 64, *dtype);
                    backend.objections(&query).is_empty()
                });
            or_dash(dtypes.map(short_dtype).collect())
        };
        let [encoder, own, cross] = Role::ALL.map(takes);
        [backend.name().to_owned(), encoder, own, cross]
    }));
    text += &aligned(&rows);
    for (name, by) in attention::SERVED_BY {
        _ = writeln!(text, "\n{name} is served by {by}'s kernel.");
    }
    Outcome { text, code: 0 }
}

const LIST_HEADER: [&str; 14] = [
    "backend",
    "layers",
    "dtypes",
    "head sizes",
    "block",
    "kv cache",
    "GPUs",
    "sinks",
    "mm-prefix",
    "non-causal",
    "window",
    "batch-inv",
    "kv-conn",
    "kernel here",
];

fn list_row(rules: RuleSet, registry: &Registry, row: &Capability) -> [String; 14] {
    let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
    // The older selector has no such inputs.
    let since_august = |on| {
        if rules == RuleSet::August2026 {
            yes(on)
        } else {
            "-".to_owned()
        }
    };
    let types = row.attn_types.iter().map(|t| match t {
        AttentionType::Decoder => "self",
        AttentionType::Encoder => "enc",
        AttentionType::EncoderOnly => "enc-only",
        AttentionType::EncoderDecoder => "cross",
    });
    [
        row.name.to_string(),
        types.collect::<Vec<_>>().join(" "),
        row.dtypes
            .iter()
            .map(|d| short_dtype(*d))
            .collect::<Vec<_>>()
            .join(" "),
        head_sizes_text(row.head_sizes),
        format!("x{}", row.block_multiple),
        kv_text(row.kv_cache_dtypes),
        gpus_text(rules, row.gpus).to_owned(),
        yes(row.sink),
        yes(row.mm_prefix),
        yes(row.non_causal),
        since_august(row.sliding_window),
        since_august(row.batch_invariant),
        since_august(row.kv_connector),
        yes(registry.kernel_for(row.name.as_str()).is_some()),
    ]
}

fn short_dtype(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "f16",
        Dtype::Bf16 => "bf16",
        Dtype::F32 => "f32",
    }
}

fn or_dash(items: Vec<&str>) -> String {
    if items.is_empty() {
        "-".to_owned()
    } else {
        items.join(" ")
    }
}

fn head_sizes_text(sizes: HeadSizes) -> String {
    match sizes {
        HeadSizes::Any => "any".to_owned(),
        HeadSizes::OneOf(sizes) => {
            let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
            sizes.join(" ")
        }
        HeadSizes::AtLeast(least) => format!(">= {least}"),
        HeadSizes::MultipleUpTo(of, most) => format!("x{of} <= {most}"),
    }
}

fn kv_text(dtypes: KvCacheDtypes) -> String {
    match dtypes {
        KvCacheDtypes::OneOf(names) => names.join(" "),
        KvCacheDtypes::Prefix(prefix) => format!("{prefix}*"),
    }
}

fn gpus_text(rules: RuleSet, gpus: Gpus) -> &'static str {
    match (gpus, rules) {
        (Gpus::Any, _) => "any",
        (Gpus::Capability8, _) => ">= 8.0",
        (Gpus::Aiter, RuleSet::March2026) => "gfx942 gfx950",
        (Gpus::Aiter, RuleSet::August2026) => "CDNA > 2",
    }
}

/// Columns two spaces apart, as wide as their widest entry.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// `attention check`: runs a file of vectors. 1 where any row differs, and where there is none.
#[must_use]
pub fn check(file_text: &str) -> Outcome {
    let report = vectors::check(file_text);
    let mut text = String::new();
    for mismatch in &report.mismatches {
        _ = writeln!(text, "{mismatch}");
    }
    _ = writeln!(
        text,
        "{} rows, {} mismatches",
        report.rows,
        report.mismatches.len()
    );
    let is_fine = report.rows > 0 && report.mismatches.is_empty();
    Outcome {
        text,
        code: u8::from(!is_fine),
    }
}
