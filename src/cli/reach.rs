//! Whether the places that models come from answer, found out within seconds.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::{Agent, Proxy};

use crate::weights::hub::{self, HubConfig};

/// How long the Hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often pip is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How long pip may take to start, ask its index and answer.
const PIP: Duration = Duration::from_secs(10);

/// How long a recording may take to arrive, and how large it may be.
#[cfg(feature = "server")]
const FETCH: Duration = Duration::from_secs(600);
#[cfg(feature = "server")]
const MOST_FETCHED: u64 = 1 << 30;

/// What fetches a URL, through the same proxies as downloads.
#[cfg(feature = "server")]
pub fn fetcher() -> Option<crate::server::Fetch> {
    let config = Agent::config_builder().timeout_global(Some(FETCH)).build();
    let agent = Agent::new_with_config(config);
    Some(Box::new(move |url| {
        let answer = agent.get(url).call().map_err(|error| error.to_string())?;
        let body = answer.into_body().into_with_config().limit(MOST_FETCHED);
        body.read_to_vec().map_err(|error| error.to_string())
    }))
}

/// What is known of each place, as a name and a sentence.
pub fn sources(model: &str, config: &HubConfig) -> Vec<(&'static str, String)> {
    let endpoint = config.endpoint.clone();
    let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".into());
    let hub = match config.offline {
        true => "not asked (HF_HUB_OFFLINE)".into(),
        false => format!("{endpoint}: {}", answers(&endpoint)),
    };
    vec![("Hub", hub), ("package mirror", pip(model, config))]
}

/// Whether a URL answers, asked as a download would: through the same proxies.
fn answers(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else {
        return "is no address".into();
    };
    let proxy = Proxy::try_from_env().filter(|proxy| !proxy.is_no_proxy(&uri));
    let way = proxy.map_or(String::new(), |proxy| {
        format!("through the proxy {}:{}, ", proxy.host(), proxy.port())
    });
    let config = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .build();
    let started = Instant::now();
    match Agent::new_with_config(config).head(uri).call() {
        Ok(_) => format!("{way}reachable ({} ms)", started.elapsed().as_millis()),
        Err(error) => format!("{way}not reachable ({error})"),
    }
}

/// Whether pip is there and its index has the packages of the model, or of another if it has none.
fn pip(model: &str, config: &HubConfig) -> String {
    if !config.mirror {
        return "switched off".into();
    }
    if config.offline {
        return "not asked (HF_HUB_OFFLINE)".into();
    }
    let entries = hub::find(model).into_iter().chain(hub::catalog());
    let mirrors = entries.filter_map(|entry| entry.mirror.as_ref());
    let Some(package) = mirrors.flat_map(|mirror| &mirror.packages).next() else {
        return "the catalogue names no package".into();
    };
    for words in &config.pip {
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        let called = words.join(" ");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["index", "versions", &package.name]);
        command.args([
            "--timeout",
            "3",
            "--retries",
            "0",
            "--disable-pip-version-check",
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else {
            continue;
        };
        let waited = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => {
                    return format!("{called}: its index has {}", package.name);
                }
                Ok(Some(_)) => return format!("{called}: its index has no {}", package.name),
                Ok(None) if waited.elapsed() < PIP => std::thread::sleep(POLL),
                _ => break,
            }
        }
        // It may have ended by itself just now.
        let _ = child.kill();
        let _ = child.wait();
        return format!("{called}: no answer within {} s", PIP.as_secs());
    }
    "pip is not there".into()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_answers_is_told_from_who_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
        });
        let open = answers(&url);
        assert!(
            open.contains("reachable (") && !open.contains("not"),
            "{open}"
        );
        server.join().unwrap();
        let closed = answers(&url);
        assert!(closed.contains("not reachable"), "{closed}");
        assert_eq!(answers("no address"), "is no address");
    }
}
