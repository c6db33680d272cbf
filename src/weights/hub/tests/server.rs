//! As much of the Hub as a download needs, on a port of this machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{Read, TcpListener, TcpStream, Write, sha256};

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

pub struct Server {
    pub endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Serves a repository until the test ends.
pub fn start(files: Files) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, &files, &seen);
        }
    });
    Server { endpoint, requests }
}

fn answer(mut stream: TcpStream, files: &Files, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().unwrap().push(head.clone());
    let response = match path.rsplit_once("/resolve/main/") {
        Some((_, name)) => match files.get(name) {
            Some(bytes) => part(name, bytes, &head),
            None => whole("404 Not Found", b"no such file"),
        },
        None => whole("200 OK", listing(files).as_bytes()),
    };
    let _ = stream.write_all(&response);
}

fn listing(files: &Files) -> String {
    let names: Vec<_> = files
        .keys()
        .map(|name| format!(r#"{{"rfilename": "{name}"}}"#))
        .collect();
    format!(r#"{{"sha": "c0ffee", "siblings": [{}]}}"#, names.join(", "))
}

fn whole(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The range that is asked for. Large files are known by their hash, small ones are not.
fn part(name: &str, bytes: &[u8], head: &str) -> Vec<u8> {
    let range = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("range: bytes=")
            .map(str::to_owned)
    });
    let (from, to) = range
        .as_deref()
        .and_then(|range| range.split_once('-'))
        .unwrap_or(("0", ""));
    let from: usize = from.parse().unwrap();
    let to = to
        .parse()
        .map_or(bytes.len(), |to: usize| (to + 1).min(bytes.len()));
    let etag = if name.ends_with(".safetensors") {
        sha256(bytes)
    } else {
        "0123abcd".repeat(5) + name
    };
    let body = &bytes[from.min(to)..to];
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\
         ETag: \"{etag}\"\r\nX-Repo-Commit: c0ffee\r\nConnection: close\r\n\r\n",
        body.len(),
        to.saturating_sub(1),
        bytes.len()
    );
    [head.as_bytes(), body].concat()
}
