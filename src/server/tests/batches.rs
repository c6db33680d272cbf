//! Batch files.

use super::*;

fn batch_line(id: &str, url: &str, file_url: &str) -> String {
    let body = json!({"model": "pico", "file_url": file_url});
    json!({"custom_id": id, "method": "POST", "url": url, "body": body}).to_string()
}

/// The answers to a batch, and how many of them are refusals.
fn batch(lines: &[String]) -> (Vec<Value>, usize) {
    let mut out = Vec::new();
    let reader = BatchReader {
        files: true,
        fetch: None,
    };
    let served = Served::speech("pico", "models/pico", Box::new(pico), None);
    let config = Config {
        max_running: 3,
        ..Config::default()
    };
    let models = Models::new(vec![served]);
    let failed = run_batch(
        models,
        config,
        &reader,
        lines.join("\n").as_bytes(),
        &mut out,
    );
    let text = String::from_utf8(out).unwrap();
    let answers = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (answers.collect(), failed.unwrap())
}

#[test]
fn batches_answer_every_line_in_order() {
    use base64::Engine as _;
    let text = pico()
        .unwrap()
        .transcribe(RECORDING.to_vec(), &greedy())
        .unwrap()
        .text;
    let data = base64::engine::general_purpose::STANDARD.encode(RECORDING);
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/audio/en_quick_brown_fox.wav"
    );
    let lines = [
        batch_line(
            "a",
            TRANSCRIPTIONS,
            &format!("data:audio/wav;base64,{data}"),
        ),
        batch_line("b", TRANSCRIPTIONS, &format!("file://{file}")),
        batch_line("c", "/v1/embeddings", file),
        batch_line("d", TRANSCRIPTIONS, "http://localhost/x.wav"),
        "{ no json".to_owned(),
        String::new(),
        batch_line("e", TRANSLATIONS, "data:audio/wav;base64,AAAA"),
        batch_line("f", TRANSCRIPTIONS, file),
    ];
    let (answers, failed) = batch(&lines);
    let status = |a: &Value| a["response"]["status_code"].as_u64().unwrap();
    let seen: Vec<_> = answers
        .iter()
        .map(|a| (a["custom_id"].as_str(), status(a)))
        .collect();
    let expected = [
        (Some("a"), 200),
        (Some("b"), 200),
        (Some("c"), 400),
        (Some("d"), 400),
        (None, 400),
        (Some("e"), 400),
        (Some("f"), 200),
    ];
    assert_eq!((seen.as_slice(), failed), (expected.as_slice(), 4));
    for i in [0, 1, 6] {
        assert_eq!(answers[i]["response"]["body"]["text"], json!(text));
        assert_eq!(answers[i]["error"], Value::Null);
    }
    let refused = answers[3]["error"]["message"].as_str().unwrap();
    assert!(refused.contains("--allow-http"), "{refused}");
}
