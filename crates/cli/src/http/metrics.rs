//! The newest numbers in Prometheus' text format.

use std::fmt::{self, Display, Write as _};

use crate::live::{Facts, State};

/// The numbers as text; before the first frame only what the program is.
pub(super) fn text(facts: &Facts, state: Option<&State>, events: u64) -> String {
    let mut page = Page::default();
    let build = [("version", facts.version), ("model", &facts.model), ("device", &facts.device)];
    page.family("build_info", "gauge", "What runs where.");
    page.sample("build_info", &build, 1);
    page.family("events_total", "counter", "Things that appeared, stayed or left.");
    page.sample("events_total", &[], events);
    if let Some(state) = state {
        frames(&mut page, state);
        energy(&mut page, state);
    }
    page.0
}

fn frames(page: &mut Page, state: &State) {
    page.one("uptime_seconds", "gauge", "Time since the loop began.", state.uptime_s);
    page.family("frames_total", "counter", "Frames classified, by the exit at which they left.");
    for exit in &state.exits {
        page.sample("frames_total", &[("exit", &exit.exit)], exit.frames);
    }
    page.one("frames_reused_total", "counter", "Frames for which the last answer held.", state.reused);
    page.one("frames_dropped_total", "counter", "Frames of the camera that never reached the loop.", state.dropped);
    page.one("frames_damaged_total", "counter", "Frames that came damaged.", state.damaged);
    page.one("frames_skipped_total", "counter", "Frames passed over.", state.skipped);
    page.one("camera_connected", "gauge", "Whether frames come.", u8::from(state.camera.connected));
    page.family("latency_seconds", "summary", "Time of inference, by exit.");
    for exit in &state.exits {
        let label = ("exit", exit.exit.as_str());
        if let Some(p95) = exit.p95_ms {
            page.sample("latency_seconds", &[label, ("quantile", "0.95")], p95 / 1e3);
        }
        page.sample("latency_seconds_sum", &[label], exit.mean_ms.unwrap_or(0.0) / 1e3 * exit.frames as f64);
        page.sample("latency_seconds_count", &[label], exit.frames);
    }
    if let Some(answer) = &state.answer {
        page.one("confidence_ratio", "gauge", "Confidence of the newest answer.", answer.confidence);
        if let Some(probability) = answer.probability {
            let help = "Probability that the newest answer is right, as calibrated.";
            page.one("probability_ratio", "gauge", help, probability);
        }
        page.one(
            "age_seconds",
            "gauge",
            "Time from the capture of the newest frame to its answer.",
            answer.age_ms / 1e3,
        );
        page.one("operating_point", "gauge", "The operating point in force, cheapest first.", answer.point);
        page.family("decision_info", "gauge", "Why that point is in force.");
        page.sample("decision_info", &[("reason", answer.reason.name())], 1);
    }
    page.one("switches_total", "counter", "Changes of the operating point.", state.switches);
}

fn energy(page: &mut Page, state: &State) {
    let help = "Joules that inference added to idle consumption, modelled.";
    page.one("inference_joules_total", "counter", help, state.joules);
    let help = "Joules that the full network would have added, modelled.";
    page.one("inference_full_joules_total", "counter", help, state.joules_full);
    page.some("power_watts", "Watts drawn on average since the loop began, modelled.", state.charge.watts);
    let help = "Watts that the governor of a mission plans to draw until its end, modelled.";
    page.some("planned_watts", help, state.charge.planned_watts);
    let left = state.charge.hours_left.map(|hours| 3600.0 * hours);
    page.some("battery_left_seconds", "Time until the battery is empty if it goes on like this.", left);
    let period = state.answer.as_ref().and_then(|answer| answer.period_ms);
    page.some(
        "period_seconds",
        "Time from frame to frame, where the loop has a pace.",
        period.map(|ms| ms as f64 / 1e3),
    );
    page.some("state_of_charge_ratio", "State of charge.", state.charge.soc);
    page.some("frame_budget_joules", "Joules that a frame may add on average.", state.charge.budget_joules);
    if let Some(mission) = &state.mission {
        page.one("mission_elapsed_seconds", "gauge", "Time since the mission began.", mission.elapsed_s);
        page.one("mission_length_seconds", "gauge", "Length of the mission.", mission.length_s);
        page.one("mission_reserve_ratio", "gauge", "Charge to be left at the end.", mission.reserve);
        page.some("mission_forecast_ratio", "Charge at the end if it goes on like this.", mission.forecast_soc);
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP dyn_perceiver_{name} {help}\n# TYPE dyn_perceiver_{name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.line(format_args!("dyn_perceiver_{name}{labels} {value}\n"));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn some(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.one(name, "gauge", help, value);
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing into memory does not fail.
        let _ = self.0.write_fmt(line);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::live::sample_state;

    fn page() -> String {
        let facts = Facts { model: "a \"model\"\\\nof ours".into(), device: "tree-7".into(), ..Facts::default() };
        text(&facts, Some(&sample_state()), 3)
    }

    #[test]
    fn every_sample_belongs_to_the_family_above_it() {
        let (page, mut family) = (page(), String::new());
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                assert!(
                    name == family || ["_sum", "_count"].map(|end| format!("{family}{end}")).contains(&name.into())
                );
                line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            }
        }
        assert!(page.contains("model=\"a \\\"model\\\"\\\\\\nof ours\""), "{page}");
        for told in ["planned_watts 1.25", "battery_left_seconds 23400", "period_seconds 0.1"] {
            assert!(page.contains(&format!("dyn_perceiver_{told}\n")), "{told}: {page}");
        }
        assert!(page.contains("dyn_perceiver_frames_total{exit=\"early\"} 30\n"), "{page}");
    }

    /// Grafana's dashboard and the queries of the page ask for nothing that is not there.
    #[test]
    fn metrics_that_documents_name_are_served() {
        let dashboard = include_str!("../../../../docs/live/grafana-fleet.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() >= 6));
        let (page, mut named) = (page(), 0);
        for text in [dashboard, include_str!("../../../../docs/live.md")] {
            for (at, _) in text.match_indices("dyn_perceiver_") {
                let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
                let name = &text[at..at + text[at..].find(|letter| !is_name(letter)).unwrap()];
                let served = page.lines().any(|line| line.split(['{', ' ']).next() == Some(name));
                assert!(served, "{name} is not among the metrics");
                named += 1;
            }
        }
        assert!(named > 12);
    }

    #[test]
    fn promtool_finds_no_fault() {
        let mut command = Command::new("promtool");
        command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut tool = match command.spawn() {
            Ok(tool) => tool,
            Err(error) => return crate::output::message::note(&format!("skipped: promtool: {error}")),
        };
        tool.stdin.take().unwrap().write_all(page().as_bytes()).unwrap();
        let done = tool.wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}
