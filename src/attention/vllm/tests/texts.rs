//! What vLLM says, word for word.

use super::*;

fn query(attn_type: AttentionType, head_size: usize) -> AttentionQuery {
    AttentionQuery::new(attn_type, head_size, Dtype::F16)
}

fn auto_log(rules: RuleSet, attn_type: AttentionType, model: ModelKind) -> Vec<String> {
    let machine = rocm_machine("gfx942", &["aiter"]);
    let query = query(attn_type, 64);
    let answer = select(rules, &machine, model, None, &query).unwrap();
    answer
        .log(rules, &machine, &query)
        .iter()
        .map(ToString::to_string)
        .collect()
}

const CONFIG_P: &str = "AttentionSelectorConfig(head_size=16, dtype=torch.float16, \
     kv_cache_dtype=auto, block_size=None, use_mla=False, has_sink=False, use_sparse=False, \
     use_mm_prefix=False, use_per_head_quant_scales=False, attn_type=AttentionType.DECODER, \
     use_non_causal=False)";

#[test]
fn the_query_as_text() {
    let mut query = query(AttentionType::Decoder, 16);
    assert_eq!(query.config_text(P), CONFIG_P);
    query.block_size = Some(32);
    query.flags.sliding_window = true;
    assert_eq!(
        query.config_text(A),
        "AttentionSelectorConfig(head_size=16, dtype=torch.float16, kv_cache_dtype=auto, \
         block_size=32, use_mla=False, has_sink=False, use_sparse=False, use_mm_prefix=False, \
         use_per_head_quant_scales=False, attn_type=AttentionType.DECODER, \
         has_sliding_window=True, use_non_causal=False, use_batch_invariant=False, \
         use_kv_connector=False, use_adaptive_verification=False, use_pcp=False, use_dcp=False)"
    );
}

#[test]
fn auto_selection_logs() {
    assert_eq!(
        auto_log(P, AttentionType::Decoder, ModelKind::Decoder)[1],
        "INFO Using ROCM_ATTN backend out of potential backends: ['ROCM_ATTN', \
         'ROCM_AITER_UNIFIED_ATTN', 'TRITON_ATTN']."
    );
    let log = auto_log(P, AttentionType::EncoderDecoder, ModelKind::EncoderDecoder);
    assert_eq!(
        log[1],
        "INFO Found incompatible backend(s) [ROCM_ATTN] with AttentionType.ENCODER_DECODER. \
         Overriding with ROCM_AITER_UNIFIED_ATTN out of potential backends: \
         ['ROCM_AITER_UNIFIED_ATTN', 'TRITON_ATTN']."
    );
    assert!(log[0].starts_with(
        "DEBUG Some attention backends are not valid for rocm with AttentionSelectorConfig(head_size=64,"
    ));
    assert!(log[0].ends_with(
        "Reasons: {ROCM_ATTN: [attention type AttentionType.ENCODER_DECODER not supported]}."
    ));
    let plain = auto_log(P, AttentionType::Decoder, ModelKind::Decoder);
    assert!(
        plain[0].ends_with("Reasons: {}."),
        "printed even where there are none"
    );
    assert_eq!(
        auto_log(A, AttentionType::Decoder, ModelKind::Decoder)[1],
        "INFO Found incompatible backend(s) [TURBOQUANT] with AttentionType.DECODER. Overriding \
         with ROCM_ATTN out of potential backends: ['ROCM_ATTN', 'ROCM_AITER_UNIFIED_ATTN', \
         'TRITON_ATTN']."
    );
}

#[test]
fn nothing_valid() {
    let machine = rocm_machine("gfx942", &[]);
    let answer = select(
        P,
        &machine,
        ModelKind::Decoder,
        None,
        &query(AttentionType::Decoder, 16),
    );
    assert_eq!(
        answer.unwrap_err().to_string(),
        format!(
            "No valid attention backend found for rocm with {CONFIG_P}. Reasons: {{ROCM_ATTN: \
             [head_size not supported], TRITON_ATTN: [head_size not supported]}}."
        )
    );
}

#[test]
fn an_explicit_request_is_confirmed() {
    let machine = rocm_machine("gfx942", &[]);
    let query = query(AttentionType::Decoder, 64);
    let asked = Some(BackendName::FLASH_ATTN);
    let answer = select(A, &machine, ModelKind::Decoder, asked, &query).unwrap();
    let log: Vec<String> = answer
        .log(A, &machine, &query)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        log,
        ["INFO Using FLASH_ATTN backend (selected via --attention-backend)."]
    );
}

#[test]
fn every_objection_in_order() {
    let mut query = query(AttentionType::EncoderDecoder, 0); // TURBOQUANT takes all others
    query.dtype = Dtype::F32;
    query.kv_cache_dtype = "nvfp4".to_owned();
    query.block_size = Some(3);
    query.flags = Flags {
        mla: true,
        sink: true,
        sparse: true,
        mm_prefix: true,
        per_head_quant_scales: true,
        non_causal: true,
        sliding_window: true,
        batch_invariant: true,
        kv_connector: true,
        adaptive_verification: true,
        pcp: true,
        dcp: true,
    };
    let all = [
        "head_size not supported",
        "dtype not supported",
        "kv_cache_dtype not supported",
        "block_size not supported",
        "partial multimodal token full attention not supported",
        "MLA not supported",
        "attention sinks not supported",
        "sparse not supported",
        "per-head quant scales not supported",
        "attention type AttentionType.ENCODER_DECODER not supported",
        "sliding window not supported",
        "non-causal attention not supported",
        "non-causal MLA attention with DCP not supported",
        "batch invariance not supported",
        "PCP not supported",
        "device-cpu query lens mismatch not supported, this is needed for adaptive verification",
    ];
    let machine = rocm_machine("gfx942", &[]);
    let answer = |rules, backend| {
        let asked = Some(name(rules, backend));
        select(rules, &machine, ModelKind::EncoderDecoder, asked, &query)
            .unwrap_err()
            .to_string()
    };
    let texts: Vec<String> = all.iter().map(|text| format!("'{text}'")).collect();
    let head = |b| {
        format!(
            "Selected backend AttentionBackendEnum.{b} is not valid for this configuration. Reason: "
        )
    };
    assert_eq!(
        answer(A, "TURBOQUANT"),
        format!("{}[{}]", head("TURBOQUANT"), texts.join(", "))
    );
    let march = answer(P, "FLASHINFER");
    assert_eq!(march, format!("{}['ImportError']", head("FLASHINFER")));
    let flash = answer(A, "FLASH_ATTN");
    assert!(
        flash.ends_with(", 'FP8 KV cache requires FA3 on SM90 or FA4 on SM100']"),
        "{flash}"
    );
    assert!(
        !answer(P, "FLASH_ATTN").contains("FA3"),
        "March has no such text"
    );
}

#[test]
fn names_as_typed() {
    let own = ["MINE", "CPU_ATTN", "NAIVE"];
    let read =
        |rules, text| Requested::parse(rules, text, &own).map(|r| r.map(|r| r.name().to_owned()));
    for text in ["", "None", "auto", "AUTO", "Auto"] {
        assert_eq!(read(A, text).unwrap(), None, "{text:?}");
    }
    for (text, expected) in [
        ("rocm_attn", "ROCM_ATTN"),
        ("Turboquant", "TURBOQUANT"),
        ("naive", "NAIVE"),
        ("mine", "MINE"),
    ] {
        assert_eq!(read(A, text).unwrap().as_deref(), Some(expected));
    }
    let error = read(P, "rocm_aiter_unified_attention")
        .unwrap_err()
        .to_string();
    assert!(error.contains(
        "Unknown attention backend: 'ROCM_AITER_UNIFIED_ATTENTION'. Valid options are: FLASH_ATTN, \
         FLASH_ATTN_DIFFKV, TRITON_ATTN, ROCM_ATTN, ROCM_AITER_MLA, ROCM_AITER_TRITON_MLA, \
         ROCM_AITER_FA, ROCM_AITER_MLA_SPARSE, XPU_MLA_SPARSE, TORCH_SDPA, FLASHINFER, \
         FLASHINFER_MLA, FLASHINFER_MLA_SPARSE, TRITON_MLA, CUTLASS_MLA, FLASHMLA, \
         FLASHMLA_SPARSE, FLASH_ATTN_MLA, NO_ATTENTION, FLEX_ATTENTION, TREE_ATTN, \
         ROCM_AITER_UNIFIED_ATTN, CPU_ATTN, CUSTOM\nThis engine adds: MINE, NAIVE"
    ));
    assert!(read(P, "TURBOQUANT").is_err() && read(A, "TREE_ATTN").is_err());
    assert!(read(A, "TRITON_ATTENTION").unwrap_err().to_string().contains(
        "Valid options are: FLASH_ATTN, FLASH_ATTN_DIFFKV, TRITON_ATTN, TRITON_ATTN_DIFFKV, "
    ));
    for rules in RuleSet::ALL {
        assert_eq!(RuleSet::parse(rules.name()).unwrap(), rules);
    }
    assert!(RuleSet::parse("2025-01").is_err());
}
