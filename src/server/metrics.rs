//! The server's figures, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::models::Models;
use crate::attention::Role;

/// Upper ends of the buckets of a request's time, in seconds.
const BUCKETS_S: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// What has been counted since the start.
#[derive(Default)]
pub struct Metrics(Mutex<Tally>);

#[derive(Default)]
struct Tally {
    requests: BTreeMap<(String, u16), u64>,
    buckets: [u64; BUCKETS_S.len()],
    requests_timed: u64,
    request_s: f64,
    audio_s: f64,
    speech_s: f64,
    failures: u64,
    cancellations: u64,
}

/// How many requests are inside.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    pub running: usize,
    pub waiting: usize,
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        let mut tally = self.lock();
        *tally
            .requests
            .entry((route.to_owned(), status))
            .or_default() += 1;
        if !route.starts_with("/v1/audio") {
            return;
        }
        let took_s = took.as_secs_f64();
        tally.requests_timed += 1;
        tally.request_s += took_s;
        for (bucket, end) in tally.buckets.iter_mut().zip(BUCKETS_S) {
            *bucket += u64::from(took_s <= end);
        }
    }

    /// A recording was transcribed.
    pub fn heard(&self, audio_s: f64, took: Duration) {
        let mut tally = self.lock();
        tally.audio_s += audio_s;
        tally.speech_s += took.as_secs_f64();
    }

    /// The engine failed at a request.
    pub fn failed(&self) {
        self.lock().failures += 1;
    }

    /// A request was cancelled: its client left, its time was over, or the server stops.
    pub fn cancelled(&self) {
        self.lock().cancellations += 1;
    }

    /// Everything, with what the models' workers have counted.
    pub fn text(&self, load: Load, models: &Models) -> String {
        let mut page = Page::default();
        let tally = self.lock();
        page.family("requests_total", "counter", "Requests by route and status.");
        for ((route, status), count) in &tally.requests {
            page.line(
                "requests_total",
                &format!("route=\"{route}\",status=\"{status}\""),
                count,
            );
        }
        page.histogram(&tally);
        page.one(
            "requests_running",
            "gauge",
            "Requests whose recordings are worked on.",
            load.running,
        );
        page.one(
            "requests_waiting",
            "gauge",
            "Requests that wait for their turn.",
            load.waiting,
        );
        page.one(
            "failures_total",
            "counter",
            "Requests at which the engine failed.",
            tally.failures,
        );
        page.one(
            "cancellations_total",
            "counter",
            "Requests that were cancelled.",
            tally.cancellations,
        );
        page.one(
            "audio_seconds_total",
            "counter",
            "Seconds of audio transcribed.",
            tally.audio_s,
        );
        let help = "Seconds of audio a second of a request, over all requests so far.";
        page.one(
            "real_time_factor",
            "gauge",
            help,
            tally.audio_s / tally.speech_s.max(1e-9),
        );
        drop(tally);
        page.computed_by(models);
        page.workers(models);
        page.0
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        // Numbers are changed one by one; none is ever half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP undertone_{name} {help}");
        let _ = writeln!(self.0, "# TYPE undertone_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = match labels {
            "" => writeln!(self.0, "undertone_{name} {value}"),
            _ => writeln!(self.0, "undertone_{name}{{{labels}}} {value}"),
        };
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.line(name, "", value);
    }

    fn histogram(&mut self, tally: &Tally) {
        const NAME: &str = "request_duration_seconds";
        self.family(
            NAME,
            "histogram",
            "Time of requests for speech, upload included.",
        );
        for (end, count) in BUCKETS_S.iter().zip(&tally.buckets) {
            self.line(&format!("{NAME}_bucket"), &format!("le=\"{end}\""), count);
        }
        self.line(
            &format!("{NAME}_bucket"),
            "le=\"+Inf\"",
            tally.requests_timed,
        );
        self.line(&format!("{NAME}_sum"), "", tally.request_s);
        self.line(&format!("{NAME}_count"), "", tally.requests_timed);
    }

    /// What computes each model that is loaded.
    fn computed_by(&mut self, models: &Models) {
        let help = "Always 1; the labels say what computes a model.";
        self.family("model_info", "gauge", help);
        for (name, model) in models.speech() {
            let Some(engine) = model.loaded() else {
                continue;
            };
            let described = engine.describe();
            let roles = Role::ALL.map(|role| engine.plan().served_by(role));
            let labels = [
                ("model", name),
                ("executor", described.executor),
                ("device", &described.device),
                ("compute_type", described.compute.name()),
                ("attention", &roles.join(",")),
            ];
            let labels = labels.map(|(label, value)| format!("{label}=\"{}\"", quoted(value)));
            self.line("model_info", &labels.join(","), 1);
        }
    }

    /// What each model's worker has done.
    fn workers(&mut self, models: &Models) {
        let workers: Vec<_> = models
            .speech()
            .map(|(name, model)| {
                let counts = model.loaded().map(|engine| engine.counts());
                (name, model.restarts(), counts)
            })
            .collect();
        type Figure = fn(&crate::batcher::Counts) -> f64;
        let figures: [(&str, &str, &str, Figure); 6] = [
            ("queue_windows", "gauge", "Windows that wait.", |c| {
                c.queued as f64
            }),
            ("windows_total", "counter", "Windows encoded.", |c| {
                c.windows as f64
            }),
            ("steps_total", "counter", "Steps of the decoder.", |c| {
                c.steps as f64
            }),
            ("rows_total", "counter", "Rows in those steps.", |c| {
                c.rows as f64
            }),
            (
                "encode_seconds_total",
                "counter",
                "Seconds of encoding, over all lanes.",
                |c| c.encode_s,
            ),
            ("step_seconds_total", "counter", "Seconds of steps.", |c| {
                c.step_s
            }),
        ];
        for (name, kind, help, figure) in figures {
            self.family(name, kind, help);
            for (model, _, counts) in &workers {
                if let Some(counts) = counts {
                    self.line(
                        name,
                        &format!("model=\"{}\"", quoted(model)),
                        figure(counts),
                    );
                }
            }
        }
        self.family(
            "worker_restarts_total",
            "counter",
            "Workers that died and were replaced.",
        );
        for (model, restarts, _) in &workers {
            self.line(
                "worker_restarts_total",
                &format!("model=\"{}\"", quoted(model)),
                restarts,
            );
        }
    }
}

fn quoted(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_described_and_counts_add_up() {
        let metrics = Metrics::default();
        let route = "/v1/audio/transcriptions";
        metrics.answered(route, 200, Duration::from_millis(200));
        metrics.answered(route, 200, Duration::from_secs(2));
        metrics.answered("/health", 200, Duration::ZERO);
        metrics.heard(30.0, Duration::from_secs(3));
        metrics.cancelled();
        let load = Load {
            running: 2,
            waiting: 1,
        };
        let text = metrics.text(load, &Models::new(Vec::new()));
        for line in [
            "undertone_requests_total{route=\"/v1/audio/transcriptions\",status=\"200\"} 2",
            "undertone_request_duration_seconds_bucket{le=\"0.25\"} 1",
            "undertone_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "undertone_request_duration_seconds_count 2",
            "undertone_requests_running 2",
            "undertone_requests_waiting 1",
            "undertone_cancellations_total 1",
            "undertone_real_time_factor 10",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let described = format!("# TYPE {} ", family.unwrap_or(name));
            assert!(text.contains(&described), "{line}");
        }
    }
}
