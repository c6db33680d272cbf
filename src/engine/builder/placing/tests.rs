//! What is left to the CPU and what is refused, and AMD's cards on a driver that notes its calls: the rules' choice is
//! what is launched.

use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::attention::{Machine, Role, RuleSet};
use crate::device::recording::{self, Recording};
use crate::device::{Arch, Launch};
use crate::model::{self, StepWindow};
use crate::ranking::{AllowedRuns, Constraint, Query, Wanted};

#[test]
fn what_only_the_cpu_does_is_refused_by_name_and_never_by_auto() {
    let plain = Request::default();
    let naive = Request {
        backend: Some("NAIVE".into()),
        ..Request::default()
    };
    let (cpu, auto) = (Executor::Cpu, Executor::Auto);
    let cases = [
        (cpu, ComputeType::F32, &plain, false, "executor cpu"),
        (
            Executor::Reference,
            ComputeType::F32,
            &plain,
            false,
            "executor reference",
        ),
        (
            auto,
            ComputeType::Int8,
            &plain,
            false,
            "int8 is for the CPU",
        ),
        (auto, ComputeType::F32, &naive, false, "attention backends"),
        (auto, ComputeType::F32, &plain, true, "attention backends"),
        (auto, ComputeType::F32, &plain, false, "a draft"),
    ];
    for (executor, compute, attention, own_backends, said) in cases {
        let wishes = Wishes {
            executor,
            compute,
            attention,
            own_backends,
            draft: said.starts_with("a draft"),
        };
        for device in [DeviceChoice::Auto, DeviceChoice::Cpu] {
            let cards = wishes.cards(&device).unwrap();
            assert!(cards.is_empty(), "{device}: {said}");
        }
        for device in [DeviceChoice::Cuda(1), DeviceChoice::Cudas(vec![1, 2])] {
            let error = wishes.cards(&device).err().unwrap().to_string();
            assert!(error.contains(said) && error.contains("cuda:1"), "{error}");
        }
        // The ROCm rules choose among names that AMD's cards answer to.
        if *attention == plain {
            let error = wishes.cards(&DeviceChoice::Rocm(1)).err().unwrap();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}

#[test]
fn half_floats_are_refused_on_amds_cards_by_name() {
    let builder = EngineBuilder::default().device(DeviceChoice::Rocm(0));
    for compute in [ComputeType::F16, ComputeType::Int8Float16] {
        let error = builder.clone().compute_type(compute).cards();
        let error = error.err().unwrap().to_string();
        let said = format!("compute in f32; there are none in {compute}");
        assert!(error.contains("rocm:0") && error.contains(&said), "{error}");
    }
}

const MI300X: &str = "gfx942:sramecc+:xnack-";

/// A card of AMD's that notes its calls.
fn amd(chip: &str) -> CardInfo {
    CardInfo {
        id: "rocm:0".into(),
        name: "a recording".into(),
        arch: Arch::Gfx(chip.into()),
        driver: (6, 2),
        ..recording::card()
    }
}

fn pico() -> Box<dyn WeightSource> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pico");
    crate::weights::open(&folder.join("model.safetensors")).unwrap()
}

/// Whisper on a machine with AITER, under a rule set, with a backend asked for by name.
fn asked(rules: RuleSet, backend: Option<&str>) -> EngineBuilder {
    let machine = Machine {
        installed: ["aiter".to_owned()].into(),
        ..Machine::default()
    };
    EngineBuilder::default()
        .device(DeviceChoice::Rocm(0))
        .threads(1)
        .slots(1)
        .attention(Request {
            rules,
            machine,
            backend: backend.map(str::to_owned),
            ..Request::default()
        })
}

/// A network and its plan on a recording.
fn placed(builder: &EngineBuilder, card: &Arc<Recording>) -> Result<Placed> {
    let source = pico();
    let cards = vec![Card::new(card.clone())];
    builder.network(source.as_ref(), cards, &mut |_| {})
}

/// Encodes a window and feeds a prompt of three tokens.
fn one_step(network: &dyn Network) -> Result<()> {
    let dims = network.dims();
    let mel = vec![0.0; dims.n_mels * 200];
    let mut audio = [network.audio_state()?];
    network.encode(&[&mel], &mut audio)?;
    let (mut text, allowed) = (network.text_state(1)?, AllowedRuns::new(dims.n_vocab, &[]));
    let query = Query {
        row: 0,
        at: 2,
        constraint: Constraint::plain(&allowed, dims.n_vocab),
        want: Wanted::Best,
    };
    let window = StepWindow {
        audio: &audio[0],
        text: &mut text,
        tokens: &[1, 2, 3],
        rows: 1,
        queries: vec![query],
    };
    model::step(network, &mut [window]).map(drop)
}

/// Each attention that a card was asked for: whether it reads positions of text, and its grid.
type Attentions = Arc<Mutex<Vec<(bool, [u32; 3])>>>;

/// A recording that notes them.
fn noting_attention(info: CardInfo) -> (Arc<Recording>, Attentions) {
    let noted = Attentions::default();
    let notes = noted.clone();
    let body = move |name: &str, launch: &Launch<'_>, _: &Recording| {
        if name == "plain_attention" {
            // Of its addresses the sixth is the table of text's places, the seventh where audio starts.
            let word = |i: usize| launch.argument[8 * i..][..8].iter().any(|byte| *byte != 0);
            assert_ne!(word(5), word(6), "text or audio");
            notes.lock().unwrap().push((word(5), launch.grid));
        }
    };
    let recording = Recording::new(info).with_body(Box::new(body));
    (Arc::new(recording), noted)
}

#[test]
fn whisper_on_an_mi300_is_served_by_unified_and_its_kernels_are_launched() {
    for (rules, decoder) in [
        (RuleSet::March2026, "ROCM_ATTN"),
        (RuleSet::August2026, "ROCM_AITER_UNIFIED_ATTN"),
    ] {
        let (card, noted) = noting_attention(amd(MI300X));
        let (networks, plan, note) = placed(&asked(rules, None), &card).unwrap();
        assert_eq!(note, None);
        let served = Role::ALL.map(|role| plan.served_by(role));
        let expected = [
            "TORCH_SDPA (HIP_PLAIN)".to_owned(),
            format!("{decoder} (HIP_PLAIN)"),
            "ROCM_AITER_UNIFIED_ATTN (HIP_PLAIN)".to_owned(),
        ];
        assert_eq!(served, expected, "{rules}");
        let said = plan.note().unwrap();
        assert!(
            said.contains(MI300X) && said.contains("HIP_PLAIN computes"),
            "{said}"
        );
        drop(card.calls());
        one_step(&*networks[0]).unwrap();
        let kernels = card.calls();
        let softmax = kernels
            .iter()
            .filter(|call| call.starts_with("plain_softmax"));
        let dims = networks[0].dims();
        // The encoder attends by products and a softmax, a layer at a time.
        assert_eq!(softmax.count(), dims.n_audio_layer * dims.n_audio_head);
        // In each layer the prompt's three rows attend to the text, then to the audio.
        let grid = [dims.n_text_head as u32, 3, 1];
        let layer = [(true, grid), (false, grid)];
        assert_eq!(
            *noted.lock().unwrap(),
            layer.repeat(dims.n_text_layer),
            "{rules}"
        );
    }
}

#[test]
fn what_the_rules_refuse_is_refused_in_their_words_before_anything_is_loaded() {
    let cross = "attention type AttentionType.ENCODER_DECODER not supported";
    let other = "compute capability not supported";
    let cases = [
        (RuleSet::March2026, MI300X, "ROCM_AITER_FA", cross),
        (RuleSet::August2026, MI300X, "rocm_aiter_fa", cross),
        (RuleSet::August2026, MI300X, "ROCM_ATTN", cross),
        (RuleSet::August2026, "gfx90a", "ROCM_AITER_FA", other),
        (RuleSet::August2026, MI300X, "CPU_ATTN", "CPU_ATTN"),
        (RuleSet::August2026, MI300X, "FLEX_ATTENTION", cross),
    ];
    for (rules, chip, backend, said) in cases {
        let (card, _) = noting_attention(amd(chip));
        let error = placed(&asked(rules, Some(backend)), &card).err().unwrap();
        assert!(matches!(error, Error::Attention(_)), "{error}");
        assert!(error.to_string().contains(said), "{backend}: {error}");
        assert_eq!(card.calls(), [""; 0], "{backend}");
    }
    // The rules let the decoder have it; no kernel answers to the name.
    let (card, _) = noting_attention(amd(MI300X));
    let mut request = asked(RuleSet::default(), None).attention;
    request.backend_for = vec!["full_attention=FLEX_ATTENTION".into()];
    let error = placed(&asked(RuleSet::default(), None).attention(request), &card);
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("FLEX_ATTENTION has no kernel in this build"),
        "{error}"
    );
}

#[test]
fn a_name_that_the_rules_accept_is_taken() {
    let (card, noted) = noting_attention(amd("gfx90a"));
    let (networks, plan, _) =
        placed(&asked(RuleSet::default(), Some("triton_attn")), &card).unwrap();
    assert_eq!(plan.cross().name(), "TRITON_ATTN");
    one_step(&*networks[0]).unwrap();
    assert!(!noted.lock().unwrap().is_empty());
}

#[test]
fn a_machine_that_is_not_the_cards_is_refused() {
    for (platform, arch, said) in [
        (Platform::Cuda, None, "cuda: the card rocm:0 is AMD's"),
        (
            Platform::Rocm,
            Some("gfx90a"),
            "gfx90a: the card rocm:0 is AMD's, gfx942",
        ),
    ] {
        let (card, _) = noting_attention(amd(MI300X));
        let mut request = Request::default();
        request.machine.platform = platform;
        request.machine.arch = arch.map(str::to_owned);
        let builder = asked(RuleSet::default(), None).attention(request);
        let error = placed(&builder, &card).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_chip_without_kernels_is_an_error_by_name_and_left_to_the_cpu_by_auto() {
    let (card, _) = noting_attention(amd("gfx1100"));
    let error = placed(&asked(RuleSet::default(), None), &card)
        .err()
        .unwrap();
    let said = "rocm:0: a recording (gfx1100): there are kernels for gfx90a, gfx942";
    assert_eq!(error.to_string(), said);
    let auto = EngineBuilder::default().threads(1).without_packed_copies();
    let (networks, _, note) = placed(&auto, &card).unwrap();
    assert_eq!(networks[0].describe().executor, "cpu");
    assert_eq!(note.unwrap(), format!("computes on the CPU: {said}"));
}

#[test]
fn a_lost_card_is_named() {
    let (card, _) = noting_attention(amd(MI300X));
    let (networks, _, _) = placed(&asked(RuleSet::default(), None), &card).unwrap();
    card.lose_after(20);
    let error = one_step(&*networks[0]).err().unwrap();
    assert_eq!(error.to_string(), "rocm:0: the card is lost");
}
