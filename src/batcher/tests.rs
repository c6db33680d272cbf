//! Replies and what a window takes; windows with a network are tested with whole models.

use super::inbox::Answer;
use super::{Cancel, Capacity, Inbox, WindowJob};
use crate::error::Error;
use crate::options::{DecodingOptions, Gates};
use crate::transcript::LanguageProbabilities;

#[test]
fn a_promise_that_is_dropped_is_an_error() {
    let inbox = Inbox::default();
    drop(inbox.reply(3));
    assert!(matches!(inbox.next(), Err(Error::Engine(_))));
    let failing = inbox.reply(0);
    let worker = std::thread::spawn(move || {
        let _promise = failing;
        panic!("on purpose");
    });
    assert!(matches!(inbox.next(), Err(Error::Engine(_))));
    assert!(worker.join().is_err());
}

#[test]
fn each_promise_is_answered_once() {
    let inbox = Inbox::default();
    let probabilities = LanguageProbabilities {
        best: "de".into(),
        all: Vec::new(),
    };
    inbox.reply(0).send(Ok(Answer::Language(probabilities)));
    inbox.reply(1).send(Err(Error::Cancelled));
    assert_eq!(inbox.next_language().unwrap().best, "de");
    assert!(matches!(inbox.next(), Err(Error::Cancelled)));
}

#[test]
fn nobody_wants_the_answers_of_an_inbox_that_is_gone() {
    let inbox = Inbox::default();
    let reply = inbox.reply(0);
    assert!(!reply.is_unwanted());
    drop(inbox);
    assert!(reply.is_unwanted());
    reply.send(Err(Error::Cancelled));
}

#[test]
fn a_window_takes_as_many_rows_as_its_widest_temperature() {
    // beam_size, best_of, temperatures, rows
    let cases = [
        (None, None, vec![0.0], 1),
        (Some(5), None, vec![0.0], 5),
        (Some(5), Some(8), vec![0.0], 5),
        (Some(5), Some(8), vec![0.0, 0.2], 8),
        (Some(5), Some(2), vec![0.2, 0.4], 2),
        (None, Some(0), vec![0.2], 1),
        (None, None, vec![], 1),
    ];
    for (beam_size, best_of, temperatures, rows) in cases {
        let job = WindowJob {
            mel: Vec::new(),
            options: DecodingOptions {
                beam_size,
                best_of,
                ..DecodingOptions::default()
            },
            gates: Gates {
                temperatures,
                ..Gates::default()
            },
            source: 0,
            cancel: Cancel::default(),
            align: None,
            bias: None,
        };
        assert_eq!(
            job.rows(),
            rows,
            "{beam_size:?} {best_of:?} {:?}",
            job.gates.temperatures
        );
    }
    assert_eq!(
        Capacity::of_windows(0),
        Capacity {
            windows: 1,
            rows: 5
        }
    );
}
