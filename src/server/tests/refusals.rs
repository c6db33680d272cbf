//! What is refused, and in which order.

use super::*;

type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a [u8]>, u16, &'a str);

#[test]
fn refusals_come_in_vllms_order() {
    let server = Server::new(Config {
        max_upload_mb: 0.001,
        ..Config::default()
    });
    let (small, large): (&[u8], &[u8]) = (b"not a valid audio file", &[0; 4096]);
    let beams = ("use_beam_search", "true");
    let stream = ("stream", "true");
    let cases: [Case<'_>; 10] = [
        (
            &[("n", "x"), stream, beams],
            Some(large),
            400,
            "(parameter=n)",
        ),
        (&[], None, 400, "(parameter=file)"),
        (
            &[stream, beams],
            Some(large),
            400,
            "Maximum file size exceeded",
        ),
        (
            &[stream, beams, ("model", "x")],
            Some(small),
            400,
            "not currently supported with beam search",
        ),
        (
            &[("model", "x"), stream, ("response_format", "vtt")],
            Some(small),
            404,
            "The model `x` does not exist.",
        ),
        (
            &[
                stream,
                ("response_format", "verbose_json"),
                ("language", "hh"),
            ],
            Some(small),
            400,
            "verbose_json format doesn't support streaming case",
        ),
        (
            &[("language", "hh")],
            Some(small),
            400,
            "Unsupported language: 'hh'.  Must be one of [",
        ),
        (&[], Some(small), 400, "Invalid or unsupported audio file."),
        (
            &[stream],
            Some(small),
            400,
            "Invalid or unsupported audio file.",
        ),
        (
            &[("file", "text")],
            None,
            422,
            "Expected 'file' to be a file-like object, not 'str'.",
        ),
    ];
    for (fields, file, status, text) in cases {
        let answer = server.post(TRANSCRIPTIONS, fields, file);
        assert_eq!(answer.status, status, "{}", answer.body);
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(text), "{message}");
        assert_eq!(answer.error()["code"], status);
    }
}

#[test]
fn a_text_for_a_file_is_another_fault_for_translations() {
    let server = Server::new(Config::default());
    let translation = server.post(TRANSLATIONS, &[("file", "text")], None);
    assert_eq!(
        (translation.status, &translation.error()["type"]),
        (400, &json!("Bad Request"))
    );
}

#[test]
fn long_recordings_and_long_waits_are_refused() {
    let short = Server::new(Config {
        max_seconds: 0.5,
        ..Config::default()
    });
    let answer = short.post(TRANSCRIPTIONS, &[], Some(RECORDING));
    assert_eq!(
        (answer.status, &answer.error()["param"]),
        (400, &json!("audio_duration_s"))
    );
    let hasty = Server::new(Config {
        request_timeout: Duration::ZERO,
        ..Config::default()
    });
    let answer = hasty.post(TRANSCRIPTIONS, &[], Some(RECORDING));
    assert_eq!(
        (answer.status, &answer.error()["type"]),
        (504, &json!("TimeoutError"))
    );
    let impatient = Server::new(Config {
        upload_timeout: Duration::from_millis(20),
        ..Config::default()
    });
    let never = Body::from_stream(futures_util::stream::pending::<
        Result<String, std::io::Error>,
    >());
    let request =
        Request::post(TRANSCRIPTIONS).header("content-type", "multipart/form-data; boundary=X");
    assert_eq!(impatient.ask(request.body(never).unwrap()).status, 408);
    wait_until(|| hasty.app.gate.load().running == 0);
}

fn wait_until(done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not happen");
}

#[test]
fn a_full_server_says_when_to_come_back_and_a_client_that_leaves_makes_room() {
    let server = Server::new(Config {
        max_running: 1,
        max_waiting: 0,
        ..Config::default()
    });
    // Ten minutes of noise: long enough to be left in the middle.
    let noise: Vec<u8> = (0..600 * 16_000_u32)
        .flat_map(|i| ((i.wrapping_mul(2_654_435_761) >> 20) as i16).to_le_bytes())
        .collect();
    let mut wav = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x80>\0\0\0}\0\0\x02\0\x10\0data\xff\xff\xff\xff".to_vec();
    wav.extend(noise);
    let long = server.runtime.spawn(answer(
        server.router.clone(),
        form(TRANSCRIPTIONS, &[("language", "en")], Some(&wav)),
    ));
    wait_until(|| server.app.gate.load().running == 1);
    let refused = server.post(TRANSCRIPTIONS, &[], Some(RECORDING));
    assert_eq!(
        (refused.status, &refused.headers["retry-after"]),
        (503, &"2".parse().unwrap())
    );
    assert_eq!(server.get("/load").json(), json!({"server_load": 1}));
    long.abort();
    wait_until(|| server.app.gate.load().running == 0);
    assert_eq!(
        server.post(TRANSCRIPTIONS, &[], Some(RECORDING)).status,
        200
    );
    let metrics = server.get("/metrics").body;
    assert!(
        metrics.contains("undertone_cancellations_total 1\n"),
        "{metrics}"
    );
}

#[test]
fn keys_guard_the_api_alone() {
    let server = Server::new(Config {
        keys: vec!["right".into()],
        ..Config::default()
    });
    let with = |path: &str, key: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {key}"));
        server.ask(request.body(Body::empty()).unwrap())
    };
    let refused = server.get("/v1/models");
    assert_eq!(
        (refused.status, refused.json()),
        (401, json!({"error": "Unauthorized"}))
    );
    assert_eq!(with("/v1/models", "wrong").status, 401);
    assert_eq!(with("/v1/models", "right").status, 200);
    assert_eq!(
        server.post(TRANSCRIPTIONS, &[], Some(RECORDING)).status,
        401
    );
    for path in ["/health", "/version", "/metrics", "/"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

/// Bodies that are cut, doubled or changed in a byte are answered, and never with a failure of ours.
#[test]
fn damaged_forms_are_refused_and_harm_nobody() {
    let server = Server::new(Config::default());
    let tiny: Vec<u8> = RECORDING[..4044].to_vec();
    let fields = [
        ("language", "en"),
        ("temperature", "0"),
        ("timestamp_granularities[]", "word"),
    ];
    let whole = server.runtime.block_on(
        form(TRANSCRIPTIONS, &fields, Some(&tiny))
            .into_body()
            .collect(),
    );
    let whole = whole.unwrap().to_bytes().to_vec();
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..200 {
        let mut body = whole.clone();
        match round % 3 {
            0 => body.truncate(random(body.len())),
            1 => {
                let at = random(700);
                body[at] = random(256) as u8;
            }
            _ => {
                let (from, to) = (random(700), random(700));
                let piece = body[from.min(to)..from.max(to)].to_vec();
                body.splice(from..from, piece);
            }
        }
        let request =
            Request::post(TRANSCRIPTIONS).header("content-type", "multipart/form-data; boundary=X");
        let answer = server.ask(request.body(Body::from(body.clone())).unwrap());
        assert!(
            answer.status < 500,
            "{}: {}",
            answer.body,
            String::from_utf8_lossy(&body[..700.min(body.len())])
        );
    }
    assert_eq!(
        server.post(TRANSCRIPTIONS, &[], Some(RECORDING)).status,
        200
    );
    assert_eq!(server.app.gate.load().running, 0);
}
