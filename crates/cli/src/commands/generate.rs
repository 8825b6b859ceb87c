//! `generate`: shell completions and man pages, for packages.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args as ClapArgs, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use dyn_perceiver::file::atomic_write;

use crate::output::failure::Failure;

/// Write shell completions and man pages into a folder
#[derive(ClapArgs)]
#[command(hide = true)]
pub(crate) struct Args {
    /// The folder
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Where each shell looks for completions.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "usr/share/bash-completion/completions/dyn-perceiver"),
    (Shell::Fish, "usr/share/fish/vendor_completions.d/dyn-perceiver.fish"),
    (Shell::Zsh, "usr/share/zsh/vendor-completions/_dyn-perceiver"),
];

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    for (path, contents) in files()? {
        write(&args.folder.join(path), &contents)?;
    }
    Ok(())
}

fn write(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(atomic_write(path, contents).with_context(|| path.display().to_string())?)
}

/// All files, by their places below the root.
fn files() -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut command = shown();
    let mut files = vec![];
    for (shell, path) in SHELLS {
        let mut script = vec![];
        clap_complete::generate(shell, &mut command, "dyn-perceiver", &mut script);
        files.push((path.to_owned(), script));
    }
    command.build();
    pages(&command, "dyn-perceiver", &mut files)?;
    Ok(files)
}

/// The program without the commands that are not for everybody.
fn shown() -> Command {
    let command = crate::Cli::command();
    // Its version in a man page is one line.
    let mut bare = Command::new("dyn-perceiver").version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = command.get_about() {
        bare = bare.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        bare = bare.long_about(about.clone());
    }
    bare.subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

/// The page of a command and those of its commands.
fn pages(command: &Command, name: &str, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let mut page = vec![];
    // Without a date: the same program gives the same page.
    Man::new(command.clone()).date("").render(&mut page)?;
    files.push((format!("usr/share/man/man1/{name}.1"), page));
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        pages(inner, &format!("{name}-{}", inner.get_name()), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command itself and all commands below it that are shown.
    fn with_commands(command: &Command) -> usize {
        1 + command.get_subcommands().filter(|inner| !inner.is_hide_set()).map(with_commands).sum::<usize>()
    }

    #[test]
    fn every_command_has_a_page_and_every_option_a_completion() {
        let files = files().ok().unwrap();
        let text = |path: &str| {
            let file = files.iter().find(|(found, _)| found.ends_with(path));
            String::from_utf8(file.unwrap_or_else(|| panic!("no {path}")).1.clone()).unwrap()
        };
        let run = text("man1/dyn-perceiver-run.1");
        for option in ["camera", "gate", "battery-wh", "config"] {
            assert!(run.contains(&option.replace('-', "\\-")), "{option} is not in the page");
            for shell in ["completions/dyn-perceiver", "dyn-perceiver.fish", "_dyn-perceiver"] {
                assert!(text(shell).contains(option), "{option} is not in {shell}");
            }
        }
        assert!(text("man1/dyn-perceiver-models-build.1").contains("depth\\-factor"));
        assert!(files.iter().all(|(path, _)| !path.contains("generate")), "a hidden command is nobody's business");
        let pages = files.iter().filter(|(path, _)| path.starts_with("usr/share/man")).count();
        assert_eq!(pages, with_commands(&crate::Cli::command()), "a page for each command that is shown");
    }
}
