//! The server as a whole, without a socket: requests to its routes, over the small model.

mod batches;
mod refusals;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::engine::Engine;
use crate::error::Result;
use crate::options::{DecodingOptions, TranscribeOptions};

const RECORDING: &[u8] = include_bytes!("../../../examples/audio/en_quick_brown_fox.wav");
const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const TRANSLATIONS: &str = "/v1/audio/translations";

fn pico() -> Result<Engine> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
    Engine::builder().model(folder).threads(1).slots(8).build()
}

struct Server {
    app: Arc<App>,
    router: Router,
    runtime: tokio::runtime::Runtime,
    engine: Engine,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }

    fn error(&self) -> Value {
        self.json()["error"].clone()
    }
}

impl Server {
    fn new(config: Config) -> Self {
        let engine = pico().unwrap();
        let load: Load = Box::new(pico);
        let served = Served::speech("pico", "models/pico", load, Some(engine.clone()));
        Self::of(vec![served], config, engine)
    }

    fn of(served: Vec<Served>, config: Config, engine: Engine) -> Self {
        let app = App::new(Models::new(served), config);
        Self {
            router: routes::router(&app),
            app,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            engine,
        }
    }

    fn ask(&self, request: Request<Body>) -> Answer {
        self.runtime.block_on(answer(self.router.clone(), request))
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap())
    }

    fn post(&self, path: &str, fields: &[(&str, &str)], file: Option<&[u8]>) -> Answer {
        self.ask(form(path, fields, file))
    }

    fn text(&self, options: &TranscribeOptions) -> String {
        self.engine
            .transcribe(RECORDING.to_vec(), options)
            .unwrap()
            .text
    }
}

async fn answer(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

fn form(path: &str, fields: &[(&str, &str)], file: Option<&[u8]>) -> Request<Body> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .bytes(),
        );
    }
    if let Some(file) = file {
        body.extend(
            b"--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n",
        );
        body.extend(file);
        body.extend(b"\r\n");
    }
    body.extend(b"--X--\r\n");
    Request::post(path)
        .header("content-type", "multipart/form-data; boundary=X")
        .body(Body::from(body))
        .unwrap()
}

/// An adapter of rank 1 on the decoder's first MLP; its folder.
fn write_adapter(folder: &std::path::Path) -> String {
    use safetensors::{Dtype, tensor::TensorView};
    let config: Value =
        serde_json::from_str(include_str!("../../../models/pico/config.json")).unwrap();
    let size = |name: &str| config[name].as_u64().unwrap() as usize;
    let (width, inner) = (size("d_model"), size("decoder_ffn_dim"));
    let ones = |count: usize| 1_f32.to_le_bytes().repeat(count);
    let module = "base_model.model.model.decoder.layers.0.fc1";
    let (a, b) = (ones(width), ones(inner));
    let tensors =
        [("A", vec![1, width], &a), ("B", vec![inner, 1], &b)].map(|(part, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape, bytes).unwrap();
            (format!("{module}.lora_{part}.weight"), view)
        });
    safetensors::serialize_to_file(tensors, None, &folder.join("adapter_model.safetensors"))
        .unwrap();
    let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, 
        "target_modules": ["decoder.layers.0.fc1"]});
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    folder.display().to_string()
}

fn greedy() -> TranscribeOptions {
    TranscribeOptions {
        decoding: DecodingOptions {
            best_of: Some(5),
            ..DecodingOptions::default()
        },
        ..TranscribeOptions::default()
    }
}

#[test]
fn an_answer_is_the_engines_in_every_form() {
    let server = Server::new(Config::default());
    let text = server.text(&greedy());
    assert!(!text.is_empty());
    let whole = server.post(TRANSCRIPTIONS, &[], Some(RECORDING));
    assert_eq!((whole.status, &whole.json()["text"]), (200, &json!(text)));
    let verbose = server.post(
        TRANSCRIPTIONS,
        &[("response_format", "verbose_json")],
        Some(RECORDING),
    );
    let verbose = verbose.json();
    assert_eq!(verbose["text"], json!(text));
    assert_eq!(verbose["segments"][0]["id"], 0);
    let streamed = server.post(TRANSCRIPTIONS, &[("stream", "true")], Some(RECORDING));
    assert_eq!(streamed.headers["content-type"], "text/event-stream");
    let (mut sum, mut lines) = (
        String::new(),
        streamed.body.split_terminator("\n\n").peekable(),
    );
    while let Some(line) = lines.next_if(|line| *line != "data: [DONE]") {
        let chunk: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
        sum += chunk["choices"][0]["delta"]["content"].as_str().unwrap();
    }
    assert_eq!((sum, lines.count()), (text, 1));
    let beams = TranscribeOptions {
        decoding: DecodingOptions {
            beam_size: Some(3),
            ..greedy().decoding
        },
        ..greedy()
    };
    let fields = [("use_beam_search", "true"), ("n", "3"), ("language", "en")];
    let mut asked = beams;
    asked.decoding.language = Some("en".into());
    let answer = server.post(TRANSCRIPTIONS, &fields, Some(RECORDING));
    assert_eq!(answer.json()["text"], json!(server.text(&asked)));
}

#[test]
fn many_requests_at_once_get_what_each_gets_alone() {
    let server = Server::new(Config::default());
    let kinds: [&[(&str, &str)]; 4] = [
        &[],
        &[("language", "en"), ("use_beam_search", "true"), ("n", "2")],
        &[("temperature", "0.7"), ("seed", "5")],
        &[("response_format", "srt"), ("prompt", "fox")],
    ];
    let alone: Vec<String> = kinds
        .iter()
        .map(|fields| server.post(TRANSCRIPTIONS, fields, Some(RECORDING)).body)
        .collect();
    let together: Vec<String> = server.runtime.block_on(async {
        let send = |i: usize| {
            tokio::spawn(answer(
                server.router.clone(),
                form(TRANSCRIPTIONS, kinds[i % 4], Some(RECORDING)),
            ))
        };
        let sent: Vec<_> = (0..16).map(send).collect();
        let mut bodies = Vec::new();
        for answer in sent {
            bodies.push(answer.await.unwrap().body);
        }
        bodies
    });
    for (i, body) in together.iter().enumerate() {
        assert_eq!(body, &alone[i % 4], "{i}");
    }
}

#[test]
fn a_model_that_is_no_speech_model_has_its_name_and_no_audio_routes() {
    let served = vec![Served::other("llama", "x/llama")];
    let server = Server::of(served, Config::default(), pico().unwrap());
    assert_eq!(server.get("/health").status, 200);
    let card = server.get("/v1/models").json()["data"][0].clone();
    assert_eq!(
        (&card["id"], &card["max_model_len"]),
        (&json!("llama"), &Value::Null)
    );
    for path in [
        TRANSCRIPTIONS,
        TRANSLATIONS,
        "/v1/chat/completions",
        "/v1/completions",
    ] {
        let answer = server.post(path, &[("model", "llama")], Some(RECORDING));
        assert_eq!(
            (answer.status, answer.json()),
            (404, json!({"detail": "Not Found"}))
        );
    }
}

#[test]
fn an_engine_that_has_worked_lately_is_not_asked_again_whether_it_is_ready() {
    let server = Server::new(Config::default());
    let windows = || server.engine.counts().windows;
    assert_eq!((server.get("/ready").status, windows()), (200, 1));
    assert_eq!((server.get("/ready").status, windows()), (200, 1));
    server.engine.stop_working();
    while server.engine.is_working() {
        std::thread::yield_now();
    }
    assert_eq!(server.get("/ready").status, 503);
    assert_eq!(server.get("/health").status, 503);
}

#[test]
fn adapters_are_models_of_their_own_beside_their_model() {
    let folder = tempfile::tempdir().unwrap();
    let engine = pico().unwrap();
    let base = Served::speech("pico", "models/pico", Box::new(pico), Some(engine.clone()));
    let lora = write_adapter(folder.path());
    let adapter = base.adapter("court", &lora).unwrap();
    let nowhere = base.adapter("none", "no-such-adapter").err().unwrap();
    assert!(nowhere.to_string().contains("no-such-adapter"), "{nowhere}");
    assert!(Served::other("llama", "x").adapter("court", &lora).is_err());
    let server = Server::of(vec![base, adapter], Config::default(), engine);
    let cards = server.get("/v1/models").json();
    let card = |i: usize| {
        (
            cards["data"][i]["id"].clone(),
            cards["data"][i]["parent"].clone(),
        )
    };
    assert_eq!(card(0), (json!("pico"), Value::Null));
    assert_eq!(card(1), (json!("court"), json!("pico")));
    let heard = |model| {
        server.post(
            TRANSCRIPTIONS,
            &[("model", model), ("temperature", "0")],
            Some(RECORDING),
        )
    };
    let (plain, court) = (heard("pico"), heard("court"));
    assert_eq!(
        (plain.status, court.status, heard("law").status),
        (200, 200, 404)
    );
    assert_ne!(plain.json()["text"], court.json()["text"]);
}

#[test]
fn ids_methods_and_origins() {
    let server = Server::new(Config {
        cors: vec!["https://here.example".into()],
        ..Config::default()
    });
    let request = |id: &str| {
        Request::get("/health")
            .header("x-request-id", id)
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(server.ask(request("mine")).headers["x-request-id"], "mine");
    let long = "x".repeat(500);
    assert_eq!(server.ask(request(&long)).headers["x-request-id"].len(), 32);
    let wrong = server.get(TRANSCRIPTIONS);
    assert_eq!(
        (wrong.status, wrong.json()),
        (405, json!({"detail": "Method Not Allowed"}))
    );
    let from = |origin: &str| {
        let request = Request::get("/version").header("origin", origin);
        let answer = server.ask(request.body(Body::empty()).unwrap());
        answer.headers.get("access-control-allow-origin").cloned()
    };
    assert_eq!(
        from("https://here.example").unwrap(),
        "https://here.example"
    );
    assert_eq!(from("https://there.example"), None);
}

#[test]
fn the_description_names_every_route_and_the_pages_are_there() {
    let server = Server::new(Config::default());
    let api = server.get("/openapi.json").json();
    assert_eq!(api["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = api["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 9);
    for (path, methods) in paths {
        let path = path.replace("{name}", "pico");
        let status = match methods.get("post") {
            Some(_) => server.post(&path, &[], None).status,
            None => server.get(&path).status,
        };
        assert!(!matches!(status, 404 | 405), "{path}: {status}");
    }
    for (path, kind, _) in page::FILES {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, &answer.headers["content-type"]),
            (200, &kind.parse().unwrap())
        );
        assert!(
            answer.headers.contains_key("content-security-policy"),
            "{path}"
        );
        assert!(
            !answer.body.contains("http://") || path == "/openapi.json",
            "{path} reaches outside"
        );
    }
    assert_eq!(StatusCode::OK, 200);
}
