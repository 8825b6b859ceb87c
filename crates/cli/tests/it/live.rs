//! The live page of the program: what it serves of a mission that runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::calibrate_tasks::calibrated_detector;
use crate::cli::Folder;

/// A loop with a page, ended when this is dropped.
struct Loop {
    child: Child,
    address: String,
}

impl Loop {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
            .args(["run", "--synthetic", "1000000", "--http", "127.0.0.1:0", "--no-compare", "--json"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stderr.take().unwrap());
        let (mut address, mut said) = (None, vec![]);
        for line in told.lines().map_while(Result::ok) {
            address = line.split_once("live page at http://").map(|(_, at)| at.trim_end_matches('/').to_owned());
            said.push(line);
            if address.is_some() {
                break;
            }
        }
        let address = address.unwrap_or_else(|| panic!("no page was told of: {said:?}"));
        Self { child, address }
    }

    /// The status and the body of an answer.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_mission_has_its_plan_on_the_page_and_a_run_without_one_has_none() {
    let mission = ["--mode", "mission", "--hours", "48", "--battery-wh", "20", "--board", "raspberry-pi-zero-2-w"];
    let run =
        Loop::start(&[&mission[..], &["--between-ms", "500,90000", "--solar-wp", "3", "--reserve", "20%"]].concat());
    let (status, body) = run.get("/api/plan");
    assert_eq!(status, 200, "{body}");
    let plan: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((plan["kind"].as_str(), plan["board"].as_str()), (Some("plan"), Some("raspberry-pi-zero-2-w")));
    assert_eq!(
        (plan["days"].as_f64(), plan["battery_wh"].as_f64(), plan["solar_wp"].as_f64()),
        (Some(2.0), Some(20.0), Some(3.0))
    );
    let rows = plan["rows"].as_array().unwrap();
    let period = |measure: &str| {
        let row = rows.iter().find(|row| row["measure"].as_str().unwrap().starts_with(measure)).unwrap();
        row["period_s"].as_f64().unwrap()
    };
    // The wish is the shortest period that the governor may choose, and the longest is its own.
    assert!((period("as it comes") - 0.5).abs() < 1e-6 && (period("the longest") - 90.0).abs() < 1e-6, "{rows:?}");
    let fact = |name: &str| plan["facts"].as_array().unwrap().iter().find(|fact| fact["name"] == name).unwrap().clone();
    assert!((fact("reserve")["value"].as_f64().unwrap() - 0.2).abs() < 1e-6);
    // A loop has no such option: the plan does not say that somebody gave it.
    assert_eq!(fact("still frames")["basis"], "assumed");
    assert_eq!(fact("the whole network")["source"], "as this run counts it");
    drop(run);

    // A detector's exits and levels of boxes are counted one by one.
    let folder = Folder::new();
    let (model, policy) = calibrated_detector(&folder);
    let detector = ["--model", &model, "--policy", &policy, "--between-ms", "500,90000"];
    let run = Loop::start(&[&mission[..], &detector].concat());
    let (status, body) = run.get("/api/plan");
    assert_eq!(status, 200, "{body}");
    drop(run);
    assert_eq!(Loop::start(&["--fps", "5"]).get("/api/plan").0, 404);
}
