//! A companion microcontroller as a gauge and as a governor: its messages, read from a serial line.

use std::io::Read;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::energy::companion::{Decoder, Message};
use crate::energy::gauge::{Fault, FuelGauge, GaugeReading, SensorError};
use crate::energy::governor::{Choice, Governor, GovernorInput, Reason};

/// No message came for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no message from the companion microcontroller for {} s", .0.as_secs())]
pub struct Silence(Duration);

impl SensorError for Silence {
    fn fault(&self) -> Fault {
        Fault::Silent
    }
}

/// The newest message of a companion microcontroller.
///
/// A thread reads the line, so that asking never waits. Clones share the line: one is the gauge, another the governor.
#[derive(Clone, Debug)]
pub struct Companion {
    line: Arc<Mutex<Line>>,
    patience: Duration,
}

#[derive(Debug)]
struct Line {
    messages: Receiver<Message>,
    newest: Option<(Message, Instant)>,
    opened: Instant,
}

impl Companion {
    /// Listens on `line`, a serial device set to the right speed. After `patience` without a message the companion counts
    /// as silent.
    pub fn listen(mut line: impl Read + Send + 'static, patience: Duration) -> Self {
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut decoder = Decoder::new();
            let mut bytes = [0; 256];
            loop {
                match line.read(&mut bytes) {
                    Ok(0) => return,
                    Ok(count) => {
                        for message in bytes.iter().take(count).filter_map(|byte| decoder.push(*byte)) {
                            if sender.send(message).is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        log::warn!("companion microcontroller: {error}");
                        return;
                    }
                }
            }
        });
        let line = Line { messages, newest: None, opened: Instant::now() };
        Companion { line: Arc::new(Mutex::new(line)), patience }
    }

    /// The newest message.
    ///
    /// # Errors
    /// [`Silence`] when none came within the patience.
    pub fn newest(&mut self) -> Result<Message, Silence> {
        // Whoever panicked with the lock left a whole message or none.
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(message) = line.messages.try_recv() {
            line.newest = Some((message, Instant::now()));
        }
        let since = line.newest.map_or(line.opened, |(_, at)| at).elapsed();
        match line.newest {
            Some((message, _)) if since <= self.patience => Ok(message),
            _ => Err(Silence(since)),
        }
    }
}

impl FuelGauge for Companion {
    type Error = Silence;

    fn read(&mut self) -> Result<GaugeReading, Silence> {
        let message = self.newest()?;
        let reading = GaugeReading::new(message.soc);
        Ok(if message.volts.is_nan() { reading } else { reading.with_volts(message.volts) })
    }
}

impl Governor for Companion {
    /// What the microcontroller's governor says; the cheapest point while it is silent.
    fn choose(&mut self, _input: &GovernorInput) -> Choice {
        match self.newest() {
            Ok(message) => {
                let choice = Choice::new(message.point.into(), message.reason);
                match message.period_ms {
                    0 => choice,
                    period => choice.with_period(Duration::from_millis(period.into())),
                }
            }
            Err(_) => Choice::new(0, Reason::GaugeFailed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::energy::companion::{MAX_FRAME, encode};
    use crate::energy::gauge::GaugeState;

    #[test]
    fn messages_become_readings_and_choices_and_silence_the_cheapest_point() {
        let (line, mut device) = std::io::pipe().unwrap();
        let mut companion = Companion::listen(line, Duration::from_millis(400));
        let input = GovernorInput::new(Duration::ZERO, GaugeState::Failed { fault: Fault::Silent });
        assert_eq!(companion.choose(&input).reason, Reason::GaugeFailed);

        let message = Message::new(1, 5, Reason::Budget).with_period_ms(50).with_soc(0.4);
        let mut frame = [0; MAX_FRAME];
        let used = encode(&message, &mut frame);
        device.write_all(b"boot noise\0").unwrap();
        device.write_all(&frame[..used]).unwrap();
        let begun = Instant::now();
        while companion.newest().is_err() && begun.elapsed() < Duration::from_secs(10) {
            thread::yield_now();
        }
        assert_eq!(companion.read().unwrap(), GaugeReading::new(0.4));
        let choice = companion.choose(&input);
        assert_eq!((choice.point, choice.period), (5, Some(Duration::from_millis(50))));
        thread::sleep(Duration::from_millis(500));
        assert_eq!(companion.read().unwrap_err().fault(), Fault::Silent);
        assert_eq!(companion.choose(&input).point, 0);
    }
}
