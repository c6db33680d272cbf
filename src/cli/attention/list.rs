//! `attention list`: what each backend of vLLM's ROCm platform declares, the newer rule set first, and
//! what the kernels here can do. Tables no wider than a terminal.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::outcome::Outcome;
use crate::attention::vllm::capability::{self, Capability, Gpus, HeadSizes, KvCacheDtypes};
use crate::attention::{self, AttentionQuery, AttentionType, Dtype, Registry, Role, RuleSet};

/// Runs the command.
#[must_use]
pub fn list(registry: &Registry, as_json: bool) -> Outcome {
    let text = match as_json {
        true => format!("{:#}\n", value(registry)),
        false => text(registry),
    };
    Outcome { text, code: 0 }
}

/// Newest first.
fn rule_sets() -> impl Iterator<Item = RuleSet> {
    RuleSet::ALL.into_iter().rev()
}

/// A column's name and what it says of a backend.
type Column = (&'static str, fn(RuleSet, &Capability) -> String);

/// The tables of a rule set, each of whose rows begins with the backend.
const TABLES: [&[Column]; 3] = [
    &[
        ("layers", |_, row| layers(row)),
        ("dtypes", |_, row| {
            joined(row.dtypes.iter().map(|d| short_dtype(*d)))
        }),
        ("GPUs", |rules, row| gpus(rules, row.gpus).to_owned()),
    ],
    &[
        ("head sizes", |_, row| head_sizes(row.head_sizes)),
        ("block", |_, row| format!("x{}", row.block_multiple)),
        ("kv cache", |_, row| kv(row.kv_cache_dtypes).to_owned()),
    ],
    &[
        ("sinks", |_, row| yes(row.sink)),
        ("mm-prefix", |_, row| yes(row.mm_prefix)),
        ("non-causal", |_, row| yes(row.non_causal)),
        ("window", |rules, row| {
            since_august(rules, row.sliding_window)
        }),
        ("batch-inv", |rules, row| {
            since_august(rules, row.batch_invariant)
        }),
        ("conn", |rules, row| since_august(rules, row.kv_connector)),
    ],
];

const LEGEND: &str = "\
layers: self and cross are the decoder's, enc and enc-only an encoder's
kv cache: plain is auto, float16, bfloat16; fp8 adds fp8, fp8_e4m3, fp8_e5m2; e4m3 adds fp8 and
  fp8_e4m3; tokens is fp8 and int4, int8, fp8 with a scale for each token and head
window, batch-inv, conn: sliding windows, results free of the batch, KV connectors; 2026-03 does
  not ask for them
";

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    for rules in rule_sets() {
        let (commit, change, date) = rules.commit();
        _ = writeln!(
            text,
            "vLLM's backends on ROCm, rule set {rules} ({}, {change}, {date})\n",
            &commit[..12]
        );
        for columns in TABLES {
            text += &aligned(&table(rules, columns));
            text.push('\n');
        }
    }
    text += LEGEND;
    _ = writeln!(
        text,
        "\nKernels here, with the types of numbers each takes\n"
    );
    let mut rows = vec![
        ["name", "encoder", "decoder self", "decoder cross"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(registry.iter().map(|backend| {
        let takes = Role::ALL.map(|role| joined(dtypes(backend.as_ref(), role).into_iter()));
        let name = backend.name().to_owned();
        std::iter::once(name).chain(takes).collect()
    }));
    text += &aligned(&rows);
    for (name, by) in attention::SERVED_BY {
        _ = writeln!(text, "\n{name} is served by {by}'s kernel.");
    }
    text
}

fn table(rules: RuleSet, columns: &[Column]) -> Vec<Vec<String>> {
    let names = columns.iter().map(|(name, _)| (*name).to_owned());
    let header = std::iter::once("backend".to_owned()).chain(names).collect();
    let row = |row: &Capability| {
        let cells = columns.iter().map(|(_, cell)| cell(rules, row));
        std::iter::once(row.name.to_string()).chain(cells).collect()
    };
    std::iter::once(header)
        .chain(capability::table(rules).iter().map(row))
        .collect()
}

fn value(registry: &Registry) -> Value {
    let backends = |rules| {
        let rows = capability::table(rules).iter();
        let of = |row: &Capability| {
            let columns = TABLES.iter().flat_map(|columns| columns.iter());
            let mut value: serde_json::Map<String, Value> = columns
                .map(|(name, cell)| ((*name).to_owned(), cell(rules, row).into()))
                .collect();
            value.insert("backend".to_owned(), row.name.as_str().into());
            value
        };
        rows.map(of).collect::<Vec<_>>()
    };
    let rules: serde_json::Map<String, Value> = rule_sets()
        .map(|rules| {
            let value = json!({ "vllm_commit": rules.commit().0, "backends": backends(rules) });
            (rules.name().to_owned(), value)
        })
        .collect();
    let kernels: Vec<Value> = registry
        .iter()
        .map(|backend| {
            let [encoder, own, cross] = Role::ALL.map(|role| dtypes(backend.as_ref(), role));
            json!({ "name": backend.name(), "encoder": encoder, "decoder_self": own, "decoder_cross": cross })
        })
        .collect();
    json!({ "rule_sets": rules, "kernels": kernels })
}

fn dtypes(backend: &dyn attention::AttentionBackend, role: Role) -> Vec<&'static str> {
    [Dtype::F16, Dtype::Bf16, Dtype::F32]
        .into_iter()
        .filter(|dtype| {
            let query = AttentionQuery::new(role.attn_type(), 64, *dtype);
            backend.objections(&query).is_empty()
        })
        .map(short_dtype)
        .collect()
}

fn layers(row: &Capability) -> String {
    if row.attn_types.len() == AttentionType::ALL.len() {
        return "all".to_owned();
    }
    joined(row.attn_types.iter().map(|t| match t {
        AttentionType::Decoder => "self",
        AttentionType::Encoder => "enc",
        AttentionType::EncoderOnly => "enc-only",
        AttentionType::EncoderDecoder => "cross",
    }))
}

fn joined<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<&str> = items.collect();
    match items.is_empty() {
        true => "-".to_owned(),
        false => items.join(" "),
    }
}

fn yes(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}

/// The older selector has no such inputs.
fn since_august(rules: RuleSet, on: bool) -> String {
    match rules {
        RuleSet::August2026 => yes(on),
        RuleSet::March2026 => "-".to_owned(),
    }
}

fn short_dtype(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "f16",
        Dtype::Bf16 => "bf16",
        Dtype::F32 => "f32",
    }
}

fn head_sizes(sizes: HeadSizes) -> String {
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

fn kv(dtypes: KvCacheDtypes) -> &'static str {
    match dtypes {
        KvCacheDtypes::OneOf(names) if names.len() > 6 => "tokens",
        KvCacheDtypes::OneOf(names) if names.contains(&"fp8_e5m2") => "fp8",
        KvCacheDtypes::OneOf(names) if names.contains(&"fp8") => "e4m3",
        KvCacheDtypes::OneOf(_) => "plain",
        KvCacheDtypes::Prefix(_) => "turboquant",
    }
}

fn gpus(rules: RuleSet, gpus: Gpus) -> &'static str {
    match (gpus, rules) {
        (Gpus::Any, _) => "any",
        (Gpus::Capability8, _) => ">= 8.0",
        (Gpus::Aiter, RuleSet::March2026) => "gfx942 gfx950",
        (Gpus::Aiter, RuleSet::August2026) => "CDNA > 2",
    }
}

/// Columns two spaces apart, as wide as their widest entry.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}
