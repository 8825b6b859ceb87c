//! The report's page in a real browser, as wide as a phone and as wide as a desk's screen.
//!
//! Needs Chromium on the path (`apt-get install chromium`), or the environment variable `CHROMIUM`; says that it was skipped where
//! there is none. The report and screenshots of it stay in `target/tmp/report`.

mod program;
mod synthetic;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use program::{name, prints};
use serde_json::Value;

/// Of what a browser is called.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let found = || {
        let folders = std::env::var_os("PATH")?;
        let candidates = std::env::split_paths(&folders).flat_map(|folder| BROWSERS.map(|name| folder.join(name)));
        candidates.into_iter().find(|path| path.is_file())
    };
    named.or_else(found)
}

/// Runs the browser on a local page, in a profile of its own, with all that it would do on the network turned off.
fn browse(browser: &Path, page: &Path, arguments: &[String]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        // Ends when the page has done what it does in 20 seconds of its own clock, not of ours.
        "--virtual-time-budget=20000",
    ];
    let output = Command::new(browser)
        .args(flags)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Puts the page into a frame of this size: a browser's window cannot be made as narrow as a phone.
fn framed(folder: &Path, html: &str, width: u32, height: u32) -> PathBuf {
    let quoted = html.replace('&', "&amp;").replace('"', "&quot;");
    let check = include_str!("browser/check.html");
    let check = check.replace("WIDTH", &width.to_string()).replace("HEIGHT", &height.to_string());
    let path = folder.join(format!("framed-{width}.html"));
    fs::write(&path, check.replace("PAGE", &quoted)).unwrap();
    path
}

fn look(browser: &Path, html: &str, width: u32, height: u32) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let page = framed(folder.path(), html, width, height);
    let dom = browse(browser, &page, &["--dump-dom".into()]);
    let found = dom.rsplit_once("<pre id=\"found\">").and_then(|(_, rest)| rest.split_once("</pre>")).unwrap().0;
    let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found:?}"))
}

#[test]
fn the_page_is_readable_on_a_phone_and_on_a_screen() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium; install it or name it in CHROMIUM");
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    fs::create_dir_all(&folder).unwrap();
    let results = folder.join("results.jsonl");
    synthetic::write(&results, &synthetic::several_machines());
    prints(&["report", name(&results), "-o", name(&folder)], 0);
    let html = fs::read_to_string(folder.join("report.html")).unwrap();
    for (width, height) in [(390, 844), (1280, 900)] {
        let found = look(&browser, &html, width, height);
        assert!(found["error"].is_null(), "{found}");
        let float = |value: &Value| value.as_f64().unwrap();
        assert_eq!(found["width"], width);
        assert!(float(&found["scrollWidth"]) <= f64::from(width), "scrolls sideways: {}", found["scrollWidth"]);
        let tables = found["tables"].as_array().unwrap();
        assert!(tables.len() > 20 && tables.iter().all(|table| float(&table["right"]) <= f64::from(width)));
        // Names of rows are not broken letter by letter.
        assert!(width > 500 || tables.iter().all(|table| float(&table["name"]) > 100.0), "{tables:?}");
        // Wide tables scroll inside their box.
        assert_eq!(tables.iter().any(|table| table["scrolls"] == true), width < 500, "{tables:?}");
        let plots = found["plots"].as_array().unwrap();
        assert_eq!(plots.len(), html.matches("<svg ").count());
        for plot in plots {
            assert!((0.01..0.6).contains(&float(&plot["inked"])), "{plot}");
            assert!(float(&plot["colours"]) >= 2.0 && float(&plot["right"]) <= f64::from(width), "{plot}");
            assert!(float(&plot["smallest"]) >= 9.0, "too small to read: {plot}");
        }
        for fault in ["withoutGlyph", "cutOff", "crowded"] {
            assert_eq!(found[fault], Value::Array(vec![]), "{fault}, {width} wide");
        }
        // The check can tell: a character that no font has is found.
        assert_eq!(found["blank"], 1);

        let screenshot = folder.join(format!("{width}x{height}.png"));
        let page = framed(&folder, &html, width, height);
        let arguments =
            [format!("--window-size={},{height}", width.max(500)), format!("--screenshot={}", screenshot.display())];
        browse(&browser, &page, &arguments);
        let png = fs::read(&screenshot).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000, "{}", screenshot.display());
    }
}
