//! Commands that events run: a program and arguments with names in them. No shell is in between, so nothing that a label or
//! a path contains can become a command.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::job::{Files, Job};
use crate::output::time;

/// A command that takes longer is ended.
const LONGEST: Duration = Duration::from_secs(30);
/// Once the loop has ended, all of them together have so long.
const LAST: Duration = Duration::from_secs(5);

/// Names that arguments may contain.
const NAMES: [&str; 10] =
    ["event", "label", "class", "confidence", "frame", "id", "time", "lasted", "snapshot", "clip"];

/// A program and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<String>);

impl Template {
    pub(super) fn parse(words: &[String]) -> Result<Self, String> {
        if words.first().is_none_or(|program| program.is_empty()) {
            return Err("run: expected a program, and its arguments".into());
        }
        words.iter().try_for_each(|word| check("run", word))?;
        Ok(Template(words.to_vec()))
    }

    /// One text, which is no command.
    pub(super) fn text(text: &str) -> Result<Self, String> {
        check("message", text)?;
        Ok(Template(vec![text.to_owned()]))
    }

    /// The words with what happened in place of the names.
    pub(super) fn filled(&self, job: &Job, files: Files<'_>) -> Vec<String> {
        let path = |path: Option<&Path>| path.map(|path| path.display().to_string()).unwrap_or_default();
        let value = |name: &str| match name {
            "event" => job.event.event.to_string(),
            "label" => job.event.label.clone(),
            "class" => job.event.class.to_string(),
            "confidence" => format!("{:.3}", job.event.confidence),
            "frame" => job.event.frame.to_string(),
            "id" => job.event.id.to_string(),
            "time" => job.event.time.clone().or_else(time::now).unwrap_or_default(),
            "lasted" => format!("{:.1}", job.lasted.as_secs_f64()),
            "snapshot" => path(files.snapshot),
            _ => path(files.clip),
        };
        let fill = |word: &String| {
            let mut filled = String::new();
            let mut rest = word.as_str();
            // From left to right, once: a label that looks like a name is no name.
            while let Some((before, name, after)) = next_name(rest) {
                filled += before;
                filled += &value(name);
                rest = after;
            }
            filled + rest
        };
        self.0.iter().map(fill).collect()
    }

    /// Runs the command and waits for it, at most until the loop's end is due.
    pub(super) fn run(&self, job: &Job, files: Files<'_>, end: &End) -> Result<(), String> {
        run(&self.filled(job, files), LONGEST, end)
    }
}

/// Refuses names that nobody knows in the value of a rule's `key`.
fn check(key: &str, text: &str) -> Result<(), String> {
    match names(text).find(|name| !NAMES.contains(name)) {
        Some(unknown) => Err(format!("{key}: {{{unknown}}} is no name; known are {{{}}}", NAMES.join("}, {"))),
        None => Ok(()),
    }
}

/// When everything has to be over, once the loop has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct End(Arc<OnceLock<Instant>>);

impl End {
    /// Says that the loop has ended: what goes on may go on for a little while.
    pub(super) fn begin(&self) {
        let _ = self.0.set(Instant::now() + LAST);
    }

    fn is_due(&self) -> bool {
        self.0.get().is_some_and(|due| Instant::now() >= *due)
    }
}

fn run(words: &[String], longest: Duration, end: &End) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let failed = |why: String| Err(format!("{program}: {why}"));
    if end.is_due() {
        return failed("not run any more: the loop has ended".into());
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return failed(error.to_string()),
    };
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return failed(status.to_string()),
            Ok(None) if begun.elapsed() < longest && !end.is_due() => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                // It may have ended just now.
                let _ = child.kill();
                let _ = child.wait();
                return failed(format!("not done after {:.0} s, and ended", begun.elapsed().as_secs_f64()));
            }
            Err(error) => return failed(error.to_string()),
        }
    }
}

/// What stands before, in and behind the first pair of braces with a word in it.
fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    let is_word = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    let mut from = 0;
    loop {
        let open = from + text.get(from..)?.find('{')?;
        let close = open + text.get(open..)?.find('}')?;
        let name = text.get(open + 1..close)?;
        if is_word(name) {
            return Some((text.get(..open)?, name, text.get(close + 1..)?));
        }
        from = open + 1;
    }
}

fn names(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(word);
    std::iter::from_fn(move || {
        let (_, name, after) = next_name(rest?)?;
        rest = Some(after);
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::job;
    use super::*;

    fn template(words: &[&str]) -> Result<Template, String> {
        Template::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn names_stand_for_what_happened() {
        let words = template(&["notify", "{label} {event}: {confidence}", "--{id}={class}", "{snapshot}", "{a b} {}"]);
        let files = Files { snapshot: Some(Path::new("/var/e.jpg")), clip: None };
        assert_eq!(
            words.unwrap().filled(&job("cat"), files),
            ["notify", "cat appeared: 0.875", "--12=3", "/var/e.jpg", "{a b} {}"]
        );
        assert!(template(&["x", "{lable}"]).unwrap_err().contains("{lable} is no name; known are {event}, {label}"));
        assert!(template(&[]).is_err() && template(&[""]).is_err());
    }

    #[test]
    fn a_label_is_never_a_command_and_never_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let words = template(&["cp", "/dev/null", &format!("{}/{{label}}", folder.path().display())]).unwrap();
        let label = "out; touch gone $(touch gone) `touch gone` {class}";
        words.run(&job(label), Files::default(), &End::default()).unwrap();
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.file_name()).collect();
        assert_eq!(names, [label]);
        assert!(!target.exists());
    }

    #[test]
    fn commands_that_fail_or_hang_are_told() {
        let error = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            run(&words, Duration::from_millis(200), &End::default()).unwrap_err()
        };
        assert!(error(&["/no/such/program"]).starts_with("/no/such/program: "));
        assert!(error(&["false"]).contains("exit status: 1"));
        assert!(error(&["sleep", "600"]).contains("not done"));
        let over = End(Arc::new(OnceLock::from(Instant::now())));
        assert!(run(&["true".into()], LONGEST, &over).unwrap_err().contains("the loop has ended"));
    }
}
