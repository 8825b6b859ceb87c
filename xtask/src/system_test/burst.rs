//! A board that is switched on for a burst: from the start of the kernel to an answer and off, with nobody at its console.
//!
//! The machine's clock counts instructions, one in a nanosecond on one core, so that the time hardly depends on the host: only waiting
//! for the card does. It is modelled: what a core with another number of instructions a second takes differs as much. What the
//! firmware takes before the kernel starts is not in it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{LIMIT, Steps, on_guest, virt};
use crate::{image, work_folder};

/// The card's own file: the kernel's virtual camera, one answer, and off.
const OPTIONS: &str = "OPTIONS='--model /usr/share/model.onnx --camera /dev/video0 --burst 1 --no-compare'\n\
                       HALT=yes\nVIRTUAL_CAMERA=yes\n";
/// Of the host: one instruction after the other, on one of its cores.
const BURST: Duration = Duration::from_secs(900);

pub(super) fn run(
    qemu: &Path,
    program: &Path,
    model: Option<&Path>,
    steps: &mut Steps,
    log: &mut String,
) -> Result<()> {
    let card = work_folder("system-test")?.join("burst.img");
    let parts = image::make("qemu-virt", &card, program, model, OPTIONS)?;
    let mut machine = virt::machine(qemu, &parts, &card);
    // Idling goes by at once: else the host's own time would be in it.
    machine.args(["-smp", "1", "-icount", "shift=0,sleep=off"]);
    on_guest(machine, log, |guest| {
        guest.wait_for("switching off with ", BURST)?;
        let line = guest.line(LIMIT)?;
        let (frames, seconds) = told(&line).with_context(|| format!("the card's last words: {line}"))?;
        guest.ended(LIMIT)?;
        ensure!(frames > 0, "switched off without an answer on the card");
        steps.pass(&format!(
            "a burst: an answer, and off {seconds:.2} s after the start of the kernel, at a billion instructions a second"
        ));
        Ok(())
    })
}

/// Frames and seconds of "3 frames on the card, 2.5 s after ...".
fn told(line: &str) -> Option<(u32, f64)> {
    let (frames, rest) = line.split_once(" frames on the card, ")?;
    let (seconds, _) = rest.split_once(" s ")?;
    Some((frames.parse().ok()?, seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cards_last_words_are_read() {
        assert_eq!(told("3 frames on the card, 2.51 s after the start of the kernel"), Some((3, 2.51)));
        assert_eq!(told(" frames on the card, s"), None);
    }
}
