//! The two dates whose rules are mirrored.

use std::fmt;

use crate::error::{Error, Result};

/// Which of vLLM's rules to follow. They differ for Whisper, so neither is "vLLM's rule".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RuleSet {
    /// 31 March 2026 (vLLM #38508).
    March2026,
    /// 22 August 2026: what a user of a current vLLM sees.
    #[default]
    August2026,
}

impl RuleSet {
    /// Both, oldest first.
    pub const ALL: [RuleSet; 2] = [RuleSet::March2026, RuleSet::August2026];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RuleSet::March2026 => "2026-03",
            RuleSet::August2026 => "2026-08",
        }
    }

    /// The commit of vLLM that the rules were read from, the change it came with, and its date.
    #[must_use]
    pub fn commit(self) -> (&'static str, &'static str, &'static str) {
        match self {
            RuleSet::March2026 => (
                "b9cdc85207b3af83613fb45501b666e4e76c974d",
                "#38508",
                "31 March 2026",
            ),
            RuleSet::August2026 => (
                "7ca49fbe4bab019e55d57cdc4b7fd3d55c67c1a6",
                "#53176",
                "22 August 2026",
            ),
        }
    }

    /// Reads `2026-03` or `2026-08`.
    ///
    /// # Errors
    /// [`Error::Option`] listing both names.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|r| r.name() == text)
            .ok_or_else(|| Error::Option {
                option: "rules",
                reason: format!(
                    "unknown rule set {text:?}: the valid ones are 2026-03 and 2026-08"
                ),
            })
    }

    /// The members of vLLM's `AttentionBackendEnum`, in declaration order.
    #[must_use]
    pub fn members(self) -> &'static [&'static str] {
        match self {
            RuleSet::March2026 => &MEMBERS_MARCH,
            RuleSet::August2026 => &MEMBERS_AUGUST,
        }
    }
}

impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[rustfmt::skip]
const MEMBERS_MARCH: [&str; 24] = [
    "FLASH_ATTN", "FLASH_ATTN_DIFFKV", "TRITON_ATTN", "ROCM_ATTN", "ROCM_AITER_MLA",
    "ROCM_AITER_TRITON_MLA", "ROCM_AITER_FA", "ROCM_AITER_MLA_SPARSE", "XPU_MLA_SPARSE",
    "TORCH_SDPA", "FLASHINFER", "FLASHINFER_MLA", "FLASHINFER_MLA_SPARSE", "TRITON_MLA",
    "CUTLASS_MLA", "FLASHMLA", "FLASHMLA_SPARSE", "FLASH_ATTN_MLA", "NO_ATTENTION",
    "FLEX_ATTENTION", "TREE_ATTN", "ROCM_AITER_UNIFIED_ATTN", "CPU_ATTN", "CUSTOM",
];

#[rustfmt::skip]
const MEMBERS_AUGUST: [&str; 37] = [
    "FLASH_ATTN", "FLASH_ATTN_DIFFKV", "TRITON_ATTN", "TRITON_ATTN_DIFFKV", "ROCM_ATTN",
    "ROCM_AITER_MLA", "ROCM_AITER_TRITON_MLA", "ROCM_AITER_FA", "ROCM_AITER_MLA_SPARSE",
    "XPU_MLA_SPARSE", "TORCH_SDPA", "FLASHINFER", "FLASHINFER_MLA", "TOKENSPEED_MLA",
    "FLASHINFER_MLA_SPARSE", "FLASHINFER_MLA_SPARSE_SM120", "TRITON_MLA", "CUTLASS_MLA",
    "FLASHMLA", "FLASHMLA_SPARSE", "FLASHMLA_SPARSE_DSV4", "FLASHINFER_MLA_SPARSE_DSV4",
    "ROCM_FLASHMLA_SPARSE_DSV4", "FLASH_ATTN_MLA", "FLASH_ATTN_MLA_SPARSE", "MINIMAX_M3_SPARSE",
    "CUTLASS_MSA", "TRITON_MSA", "NO_ATTENTION", "FLEX_ATTENTION", "HPC_ATTN",
    "ROCM_AITER_UNIFIED_ATTN", "CPU_ATTN", "CPU_MLA", "AMX_MLA", "TURBOQUANT", "CUSTOM",
];
