//! The executor for graphics cards without a card: its own kernels on the emulator, judged as the other executors
//! are; and on a driver that only notes what it is asked for, what it plans and what it says when a card fails.
#![expect(
    unsafe_code,
    reason = "the emulated kernels are a library that is opened here"
)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use libloading::Library;
use undertone::internals::batcher::{Batcher, Capacity, Inbox, WindowJob};
use undertone::internals::device::{Arch, Card, CardInfo, Launch, Recording, card};
use undertone::internals::kernels::Cpu;
use undertone::internals::model::{self, GpuNetwork, Network, ReferenceNetwork, Share, StepWindow};
use undertone::internals::ranking::{AllowedRuns, Constraint, Query, Wanted};
use undertone::internals::tokenizer::Tokenizer;
use undertone::{Cancel, ComputeType, DecodingOptions, Gates, ModelDimensions};

use crate::gpu::compiler;
use crate::judge::{judged, run};
use crate::support::skipped;
use crate::support::weights::RandomWeights;
use crate::tidy::root;

/// A launch as the library takes it.
#[repr(C)]
struct Emulated {
    grid: *const c_int,
    threads: c_int,
    shared: c_int,
    cluster: c_int,
    maps: *const c_void,
    argument: *const c_void,
    bytes: usize,
}

type RunKernel = unsafe extern "C" fn(*const c_char, *const Emulated) -> c_int;

/// The kernels as a library of this machine's.
fn compiled(compiler: &str) -> PathBuf {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels_behind_a_function.so");
    let compiled = Command::new(compiler)
        .args([
            "-std=c++17",
            "-O2",
            "-fno-strict-aliasing",
            "-shared",
            "-fPIC",
        ])
        .args(["-U_FORTIFY_SOURCE", "-Wno-unknown-pragmas"])
        .arg(root().join("tests/gpu/kernels.cpp"))
        .arg("-o")
        .arg(&library)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
    library
}

/// A card whose kernels run on this machine.
fn emulated(library: &Path, arch: Arch) -> Card {
    // SAFETY: the library was compiled just now; opening it runs constructors of the C++ library alone.
    let library = unsafe { Library::new(library) }.unwrap();
    // The emulator runs one kernel at a time.
    let one = Mutex::new(());
    let body = move |name: &str, launch: &Launch<'_>, _: &Recording| {
        let _alone = one.lock().unwrap();
        let grid = launch.grid.map(|n| n as c_int);
        let named = CString::new(name).unwrap();
        let emulated = Emulated {
            grid: grid.as_ptr(),
            threads: launch.threads as c_int,
            shared: launch.shared as c_int,
            cluster: launch.cluster as c_int,
            maps: launch.maps.as_ptr().cast(),
            argument: launch.argument.as_ptr().cast(),
            bytes: launch.argument.len(),
        };
        // SAFETY: the function has this type, and a recording's addresses are this process's own memory.
        let ran = unsafe {
            let run_kernel = library.get::<RunKernel>(b"run_kernel\0").unwrap();
            run_kernel(named.as_ptr(), &raw const emulated)
        };
        assert_eq!(ran, 0, "{name}");
    };
    let info = CardInfo { arch, ..card() };
    Card::new(Arc::new(Recording::new(info).with_body(Box::new(body))))
}

/// Two layers each, of so many numbers in so many heads; the vocabulary is as long as openai's.
fn small(width: usize, [audio_heads, text_heads]: [usize; 2]) -> RandomWeights {
    RandomWeights::new(ModelDimensions {
        n_mels: 80,
        n_vocab: 51_865,
        n_audio_ctx: 1500,
        n_audio_state: width,
        n_audio_head: audio_heads,
        n_audio_layer: 2,
        n_text_ctx: 448,
        n_text_state: width,
        n_text_head: text_heads,
        n_text_layer: 2,
    })
}

const SHARE: Share = Share {
    windows: 2,
    memory: 0.9,
};

#[test]
fn the_cards_executor_is_the_plain_network() {
    let Some(compiler) = compiler() else {
        return skipped("there is no C++ compiler to emulate the GPU's kernels with");
    };
    let (frames, library) = ([206, 90], compiled(compiler));
    // Odd widths for the plain kernels; the others take heads of 64. Hopper has kernels of its own, for few rows
    // other chips too.
    let hopper = || Arch::Sm(9, 0);
    let cases = [
        (ComputeType::F32, hopper(), small(48, [3, 2])),
        (ComputeType::F16, Arch::Sm(10, 0), small(384, [6, 6])),
        (ComputeType::F16, hopper(), small(512, [8, 8])),
        (ComputeType::Int8Float16, hopper(), small(128, [2, 2])),
        (ComputeType::Fp8, hopper(), small(128, [2, 2])),
    ];
    for (compute, arch, weights) in cases {
        let judge = run(&ReferenceNetwork::judge(&weights).unwrap(), frames);
        let cpu = Cpu::new(Some(1), None);
        let chip = arch.to_string();
        let card = emulated(&library, arch);
        let network = GpuNetwork::load(&weights, compute, card, cpu, SHARE).unwrap();
        let failure = judged("emulated card", &network, frames, &judge);
        assert_eq!(failure, None, "{compute} on {chip}");
    }
}

/// A network on a card that computes nothing.
fn recorded(info: CardInfo, windows: usize) -> undertone::Result<(Arc<Recording>, GpuNetwork)> {
    let recording = Arc::new(Recording::new(info));
    let share = Share { windows, ..SHARE };
    let weights = small(48, [3, 2]);
    let (card, cpu) = (Card::new(recording.clone()), Cpu::new(Some(1), None));
    let network = GpuNetwork::load(&weights, ComputeType::F32, card, cpu, share)?;
    Ok((recording, network))
}

#[test]
fn memory_is_planned_for_the_windows_that_are_wanted_or_that_fit() {
    let most = |memory: usize, windows| {
        let info = CardInfo { memory, ..card() };
        recorded(info, windows).map(|(recording, network)| {
            assert!(
                recording.taken() <= memory * 9 / 10,
                "{} of {memory}",
                recording.taken()
            );
            network.feeding().most.unwrap().windows
        })
    };
    assert_eq!(most(2 << 30, 8).unwrap(), 8);
    let fits = most(300 << 20, 100).unwrap();
    assert!((1..100).contains(&fits), "{fits}");
    let error = most(100 << 20, 8).err().unwrap().to_string();
    assert!(error.starts_with("cuda:0: the model needs"), "{error}");
}

#[test]
fn a_chip_without_kernels_is_named() {
    let info = CardInfo {
        arch: Arch::Sm(7, 5),
        ..card()
    };
    let error = recorded(info, 2).err().unwrap().to_string();
    assert!(
        error.contains("sm_75") && error.contains("sm_80"),
        "{error}"
    );
}

#[test]
fn a_driver_that_is_too_old_is_named() {
    let info = CardInfo {
        driver: (11, 8),
        ..card()
    };
    let error = recorded(info, 2).err().unwrap().to_string();
    assert_eq!(
        error,
        "cuda:0: the driver is for CUDA 11.8; one for CUDA 12.0 or later is needed"
    );
}

#[test]
fn eight_bit_floats_are_for_hopper() {
    let info = CardInfo {
        arch: Arch::Sm(8, 9),
        name: "an older one".into(),
        ..card()
    };
    let (card, cpu) = (
        Card::new(Arc::new(Recording::new(info))),
        Cpu::new(Some(1), None),
    );
    let weights = small(128, [2, 2]);
    let loaded = GpuNetwork::load(&weights, ComputeType::Fp8, card, cpu, SHARE);
    let error = loaded.err().unwrap().to_string();
    assert!(error.starts_with("cuda:0: fp8 is for Hopper"), "{error}");
    assert!(error.ends_with("an older one is an sm_89"), "{error}");
}

#[test]
fn a_step_is_a_fixed_row_of_launches_and_a_lost_card_leaves_texts_as_they_were() {
    let (recording, network) = recorded(card(), 2).unwrap();
    let mel = vec![0.0; 80 * 200];
    let mut audio = [network.audio_state().unwrap()];
    network.encode(&[&mel], &mut audio).unwrap();
    let mut text = network.text_state(1).unwrap();
    let allowed = AllowedRuns::new(51_865, &[]);
    let mut step = |tokens: &[u32]| {
        drop(recording.calls());
        let query = Query {
            row: 0,
            at: tokens.len() - 1,
            constraint: Constraint::plain(&allowed, 51_865),
            want: Wanted::Best,
        };
        let window = StepWindow {
            audio: &audio[0],
            text: &mut text,
            tokens,
            rows: 1,
            queries: vec![query],
        };
        let answers = model::step(&network, &mut [window]);
        (answers, text.len(), recording.calls())
    };
    let launched = |calls: &[String]| {
        calls
            .iter()
            .filter(|call| call.starts_with("plain_"))
            .count()
    };
    let (answers, len, calls) = step(&[1, 2, 3]);
    assert!(answers.is_ok());
    // Embedding, 13 a layer, norm and logits; one copy up and one down.
    assert_eq!(
        (len, launched(&calls), calls.len()),
        (3, 1 + 2 * 13 + 2, 31),
        "{calls:?}"
    );
    recording.lose_after(7);
    let (answers, len, _) = step(&[4]);
    let error = answers.unwrap_err().to_string();
    assert!(error == "cuda:0: the card is lost", "{error}");
    assert_eq!(len, 3);
}

/// Launches that wait for each other: a card's first one goes on when every card has come to its own.
struct Meeting {
    cards: usize,
    here: Mutex<usize>,
    all: Condvar,
}

impl Meeting {
    /// Whether all came.
    fn arrive(&self) -> bool {
        let mut here = self.here.lock().unwrap();
        *here += 1;
        self.all.notify_all();
        let missing = |here: &mut usize| *here < self.cards;
        let patience = Duration::from_secs(60);
        let (_here, late) = self
            .all
            .wait_timeout_while(here, patience, missing)
            .unwrap();
        !late.timed_out()
    }
}

/// Two cards, and a network on each, of which neither goes on with its first window before the other has one.
fn two_cards() -> ([Arc<Recording>; 2], [Arc<dyn Network>; 2]) {
    let meeting = Arc::new(Meeting {
        cards: 2,
        here: Mutex::default(),
        all: Condvar::new(),
    });
    let recording = |_| {
        let (meeting, came) = (meeting.clone(), OnceLock::new());
        let body = move |_: &str, _: &Launch<'_>, _: &Recording| {
            assert!(
                came.get_or_init(|| meeting.arrive()),
                "the other card idles"
            );
        };
        Arc::new(Recording::new(card()).with_body(Box::new(body)))
    };
    let recordings = [0, 1].map(recording);
    let weights = small(48, [3, 2]);
    let network = |recording: &Arc<Recording>| {
        let (card, cpu) = (Card::new(recording.clone()), Cpu::new(Some(1), None));
        let network = GpuNetwork::load(&weights, ComputeType::F32, card, cpu, SHARE);
        Arc::new(network.unwrap()) as Arc<dyn Network>
    };
    let networks = recordings.each_ref().map(network);
    (recordings, networks)
}

fn batcher(networks: &[Arc<dyn Network>]) -> Batcher {
    let tokenizer = Arc::new(Tokenizer::openai("base", 51_865).unwrap());
    Batcher::new(networks, None, tokenizer, Capacity::of_windows(2)).unwrap()
}

/// As many windows through it.
fn decode(batcher: &Batcher, windows: u64) -> Vec<undertone::Result<usize>> {
    let inbox = Inbox::default();
    for i in 0..windows {
        let options = DecodingOptions {
            language: Some("en".into()),
            sample_len: Some(2),
            ..DecodingOptions::default()
        };
        let job = WindowJob {
            mel: vec![0.0; 80 * 200],
            options,
            gates: Gates::default(),
            source: i,
            cancel: Cancel::default(),
            align: None,
            bias: None,
        };
        batcher.submit(job, i as usize, &inbox).unwrap();
    }
    (0..windows)
        .map(|_| inbox.next().map(|(tag, _)| tag))
        .collect()
}

#[test]
fn cards_take_windows_from_one_queue_at_the_same_time() {
    let (_, networks) = two_cards();
    let answers = decode(&batcher(&networks), 8);
    assert!(answers.iter().all(Result::is_ok));
}

#[test]
fn windows_of_a_lost_card_go_to_the_others() {
    // In a window's encoder, and in its steps.
    for calls in [12, 75, 100] {
        let (recordings, networks) = two_cards();
        recordings[1].lose_after(calls);
        let batcher = batcher(&networks);
        let mut tags: Vec<usize> = decode(&batcher, 8)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        tags.sort_unstable();
        assert_eq!(tags, [0, 1, 2, 3, 4, 5, 6, 7], "{calls}");
        let lost = networks[1].audio_state().unwrap();
        let gone = networks[1].encode(&[&vec![0.0; 80 * 200]], &mut [lost]);
        assert!(gone.is_err(), "card 1 has never come so far");
        // The last one answers for itself, and goes on.
        recordings[0].lose_after(0);
        for _ in 0..2 {
            let answers = decode(&batcher, 1);
            let error = answers[0].as_ref().unwrap_err().to_string();
            assert_eq!(error, "cuda:0: the card is lost");
        }
    }
}
