//! Runs steps, prints each with the time it took, and sums up at the end.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// The steps that were run and left out so far.
pub(super) struct Report {
    /// Only steps whose name contains one of these; all if there are none.
    only: Vec<String>,
    list: bool,
    passed: Vec<(String, Duration)>,
    skipped: Vec<String>,
}

impl Report {
    pub(super) fn new(only: &[String], list: bool) -> Self {
        Self { only: only.to_vec(), list, passed: Vec::new(), skipped: Vec::new() }
    }

    fn is_asked_for(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word))
    }

    /// Runs a command.
    pub(super) fn step(&mut self, name: &str, command: &mut Command) -> Result<()> {
        self.check(name, || crate::run(command))
    }

    /// Runs a function.
    pub(super) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
        if !self.is_asked_for(name) {
            return Ok(());
        }
        if self.list {
            println!("{name}");
            return Ok(());
        }
        println!("\n== {name}");
        let began = Instant::now();
        check().with_context(|| name.to_owned())?;
        let took = began.elapsed();
        println!("== {name}: passed in {:.0} s", took.as_secs_f64());
        self.passed.push((name.to_owned(), took));
        Ok(())
    }

    /// Says that a step is left out, and why.
    pub(super) fn skip(&mut self, name: &str, why: &str) {
        if self.is_asked_for(name) {
            println!("{}{name}: skipped, {why}", if self.list { "" } else { "\n== " });
            self.skipped.push(format!("{name} ({why})"));
        }
    }

    /// Prints all steps with their times.
    pub(super) fn finish(self) -> Result<()> {
        let asked = !self.only.is_empty() && !self.list;
        ensure!(
            !asked || self.passed.len() + self.skipped.len() > 0,
            "no step is called like {}",
            self.only.join(", ")
        );
        println!();
        for (name, took) in &self.passed {
            println!("ok {:>6.0} s  {name}", took.as_secs_f64());
        }
        for line in &self.skipped {
            println!("skipped      {line}");
        }
        let all: Duration = self.passed.iter().map(|(_, took)| *took).sum();
        println!("{} passed in {:.0} s, {} skipped", self.passed.len(), all.as_secs_f64(), self.skipped.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_names_itself_and_others_are_counted() {
        let mut report = Report::new(&[], false);
        report.check("one", || Ok(())).unwrap();
        let error = report.check("two", || anyhow::bail!("broken")).unwrap_err();
        assert_eq!(format!("{error:#}"), "two: broken");
        report.skip("three", "no reason");
        assert_eq!((report.passed.len(), report.skipped.len()), (1, 1));
        report.finish().unwrap();
    }

    #[test]
    fn only_the_steps_asked_for_are_run() {
        let mut report = Report::new(&["doc".to_owned()], false);
        report.check("format", || anyhow::bail!("was run")).unwrap();
        report.check("documentation", || Ok(())).unwrap();
        assert_eq!(report.passed.len(), 1);
        assert!(Report::new(&["nothing".to_owned()], false).finish().is_err());
    }
}
