//! Files that were passed over: named at once, and again at the end.

use super::failure::{Failure, chain};
use super::message;

/// How many are named again at the end.
const NAMED: usize = 20;

/// What could not be used, of a list of files.
#[derive(Debug)]
pub(crate) struct Skipped {
    what: &'static str,
    strict: bool,
    messages: Vec<String>,
    count: usize,
}

impl Skipped {
    /// Nothing yet, of `what`, in the plural. If `strict`, the first one ends the work.
    pub(crate) fn new(what: &'static str, strict: bool) -> Self {
        Self { what, strict, messages: Vec::new(), count: 0 }
    }

    /// Takes note of one, unless it ends the work.
    pub(crate) fn skip(&mut self, failure: Failure) -> Result<(), Failure> {
        match failure {
            Failure::Input(error) | Failure::Failed(error) if !self.strict && !super::out::is_closed(&error) => {
                self.add(chain(&error));
                Ok(())
            }
            failure => Err(failure),
        }
    }

    /// Takes note of one by its message.
    pub(crate) fn add(&mut self, message: String) {
        message::tell("skipped: ", &message);
        self.count += 1;
        if self.messages.len() < NAMED {
            self.messages.push(message);
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Lists what was skipped, which makes the exit code 1.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if self.count == 0 {
            return Ok(());
        }
        let mut text = format!("{} {} skipped:\n{}", self.count, self.what, self.messages.join("\n"));
        if self.count > self.messages.len() {
            text += &format!("\nand {} more", self.count - self.messages.len());
        }
        message::warning(&text);
        Err(Failure::Partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure::Input(anyhow::anyhow!("a.png: damaged"))
    }

    #[test]
    fn skipped_files_make_the_work_partial() {
        let mut skipped = Skipped::new("files", false);
        skipped.skip(failure()).unwrap();
        assert!(matches!(skipped.finish(), Err(Failure::Partial)));
        assert!(Skipped::new("files", false).finish().is_ok());
        assert!(matches!(Skipped::new("files", true).skip(failure()), Err(Failure::Input(_))));
    }
}
