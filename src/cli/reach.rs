//! Whether the places that models come from answer, found out within seconds.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::weights::hub::{self, HubConfig};

/// How long the Hub may take to take a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// How long pip may take to start, ask its index and answer.
const PIP: Duration = Duration::from_secs(10);

/// What is known of each place, as a name and a sentence.
pub fn sources(model: &str, config: &HubConfig) -> Vec<(&'static str, String)> {
    let endpoint = config.endpoint.clone();
    let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".into());
    let hub = match config.offline {
        true => "not asked (HF_HUB_OFFLINE)".into(),
        false => format!("{endpoint}: {}", connects(&endpoint)),
    };
    vec![("Hub", hub), ("package mirror", pip(model, config))]
}

/// Whether the host of a URL takes a connection; nothing is asked of it.
fn connects(url: &str) -> String {
    let Some(host) = host_and_port(url) else {
        return "is no address".into();
    };
    let attempt = move || -> std::io::Result<Duration> {
        let started = Instant::now();
        let address = host.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| std::io::Error::other("the name has no address"))?;
        TcpStream::connect_timeout(&address, CONNECT)?;
        Ok(started.elapsed())
    };
    match in_time(CONNECT, attempt) {
        Some(Ok(took)) => format!("reachable ({} ms)", took.as_millis()),
        Some(Err(error)) => format!("not reachable ({error})"),
        None => format!("no answer within {} s", CONNECT.as_secs()),
    }
}

/// Whether pip is there and its index has the packages of the model, or of another if it has none.
fn pip(model: &str, config: &HubConfig) -> String {
    if !config.mirror {
        return "switched off".into();
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
                Ok(None) if waited.elapsed() < PIP => std::thread::sleep(CONNECT / 60),
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

fn host_and_port(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next().filter(|host| !host.is_empty())?;
    let host = host.rsplit('@').next()?;
    let port = if scheme == "http" { 80 } else { 443 };
    let has_port = host
        .rsplit(':')
        .next()
        .is_some_and(|end| end.parse::<u16>().is_ok());
    Some(if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    })
}

/// Does `work` on a thread of its own, which is left behind if it takes longer.
fn in_time<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_out_of_urls() {
        let cases = [
            ("https://huggingface.co", Some("huggingface.co:443")),
            ("http://mirror.example/hub/", Some("mirror.example:80")),
            ("https://me:secret@h.example:8443/x", Some("h.example:8443")),
            ("huggingface.co", None),
            ("https:///x", None),
        ];
        for (url, want) in cases {
            assert_eq!(host_and_port(url).as_deref(), want, "{url}");
        }
    }

    #[test]
    fn a_closed_port_is_told_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = connects(&format!("http://{address}"));
        assert!(open.starts_with("reachable"), "{open}");
        drop(listener);
        let closed = connects(&format!("http://{address}"));
        assert!(closed.starts_with("not reachable"), "{closed}");
    }
}
