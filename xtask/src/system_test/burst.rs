//! A board that is switched on for a burst: from the start of the kernel to an answer and off, with nobody at its console.
//!
//! The machine's clock counts instructions, one in a nanosecond on one core. It is modelled: what a core with another number of
//! instructions a second takes differs as much. What the firmware takes before the kernel starts is not in it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{LIMIT, Test, on_guest, virt};
use crate::{image, work_folder};

/// The card's own file: the kernel's virtual camera, one answer, and off. What the first boot measures is kept for those after it.
const OPTIONS: &str = "OPTIONS='--model /usr/share/model.onnx --camera /dev/video0 --burst 1 --no-compare --state /data/state'\n\
     HALT=yes\nVIRTUAL_CAMERA=yes\n";
/// Of the host: one instruction after the other, on one of its cores.
const BURST: Duration = Duration::from_secs(900);
/// Boots of the card: one that knows nothing yet, and one like all that follow.
const BOOTS: [&str; 2] = ["the first burst", "a later one"];

pub(super) fn run(test: &mut Test<'_>) -> Result<()> {
    let card = work_folder("system-test")?.join("burst.img");
    let parts = image::make("qemu-virt", &card, test.program, test.model, OPTIONS)?;
    let mut before = 0;
    for boot in BOOTS {
        let mut machine = virt::machine(test.qemu, &parts, &card);
        // While all that is waited for is the card, the clock follows the host's, which is right to a few milliseconds. With
        // `sleep=off` it would jump to the next of the kernel's timers as often as the host needs to look for the card's answer: on
        // a busy host that made minutes out of one second.
        machine.args(["-smp", "1", "-icount", "shift=0,sleep=on"]);
        before = on_guest(machine, &mut test.log, |guest| {
            guest.wait_for("switching off with ", BURST)?;
            let line = guest.line(LIMIT)?;
            let (frames, seconds) = told(&line).with_context(|| format!("the card's last words: {line}"))?;
            guest.ended(LIMIT)?;
            ensure!(frames > before, "switched off without an answer on the card");
            test.steps.pass(&format!(
                "{boot}: an answer, and off {seconds:.2} s after the start of the kernel, at a billion instructions a second"
            ));
            Ok(frames)
        })?;
    }
    Ok(())
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
