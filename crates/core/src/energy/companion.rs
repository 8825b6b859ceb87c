//! Link to a companion microcontroller: messages in COBS frames with a CRC.
//!
//! A frame is COBS(postcard([`Message`]) + CRC-16/CCITT of it, low byte first) + a zero byte. A microcontroller that holds the
//! board's switch puts postcard([`Wakes`]) between message and CRC; without it a frame is what it was before there were any, and
//! is read as such. COBS takes every zero out
//! of the payload, so that a receiver that lost bytes finds the next frame by itself (Cheshire and Baker, 1999).

use serde::{Deserialize, Serialize};

use super::governor::Reason;
use crate::crc::crc16;

/// What the microcontroller tells the board.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Message {
    /// Counts messages, to notice lost ones.
    pub sequence: u16,
    /// Operating point to run.
    pub point: u8,
    /// Why.
    pub reason: Reason,
    /// Milliseconds from frame to frame; 0 where the board decides.
    pub period_ms: u32,
    /// State of charge in [0, 1]; NaN without a gauge.
    pub soc: f32,
    /// Terminal voltage; NaN without one.
    pub volts: f32,
    /// What the switch of the board's supply was used for, where the microcontroller holds it.
    #[serde(skip)]
    pub wakes: Option<Wakes>,
}

/// What the microcontroller tells of the switch that it holds, counted since it was itself switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Wakes {
    /// Times that the board was switched on, this one included.
    pub boots: u32,
    /// Of them those by motion.
    pub by_motion: u32,
    /// Times that the supply was cut from a board that had not halted.
    pub cuts: u32,
    /// Wakes that were due while the charge was too low.
    pub missed: u32,
    /// Seconds until the clock wakes the board the next time; none where only motion does.
    pub next_s: Option<u32>,
}

impl Wakes {
    /// Counts: boots, those of them by motion, supplies cut, wakes missed.
    #[must_use]
    pub const fn new(boots: u32, by_motion: u32, cuts: u32, missed: u32) -> Self {
        Wakes { boots, by_motion, cuts, missed, next_s: None }
    }

    /// The same with the seconds until the clock wakes the board the next time.
    #[must_use]
    pub const fn with_next(self, seconds: Option<u32>) -> Self {
        Wakes { next_s: seconds, ..self }
    }
}

impl Message {
    /// A decision, without a period or figures of the battery.
    pub const fn new(sequence: u16, point: u8, reason: Reason) -> Self {
        Message { sequence, point, reason, period_ms: 0, soc: f32::NAN, volts: f32::NAN, wakes: None }
    }

    /// The same message with the milliseconds from frame to frame.
    #[must_use]
    pub const fn with_period_ms(self, period_ms: u32) -> Self {
        Message { period_ms, ..self }
    }

    /// The same message with the state of charge in [0, 1].
    #[must_use]
    pub const fn with_soc(self, soc: f32) -> Self {
        Message { soc, ..self }
    }

    /// The same message with the terminal voltage.
    #[must_use]
    pub const fn with_volts(self, volts: f32) -> Self {
        Message { volts, ..self }
    }

    /// The same message with what the switch was used for.
    #[must_use]
    pub const fn with_wakes(self, wakes: Option<Wakes>) -> Self {
        Message { wakes, ..self }
    }
}

/// Bytes that are enough for any frame.
pub const MAX_FRAME: usize = 64;

/// Writes a frame and returns how many bytes of `frame` it fills.
///
/// ```
/// use dyn_perceiver_core::energy::Reason;
/// use dyn_perceiver_core::energy::companion::{Decoder, MAX_FRAME, Message, encode};
/// let message = Message::new(1, 5, Reason::Budget).with_period_ms(50).with_soc(0.5).with_volts(3.7);
/// let mut frame = [0; MAX_FRAME];
/// let used = encode(&message, &mut frame);
/// let mut decoder = Decoder::new();
/// assert_eq!(frame[..used].iter().find_map(|byte| decoder.push(*byte)), Some(message));
/// assert_eq!(decoder.rejected(), 0);
/// ```
pub fn encode(message: &Message, frame: &mut [u8; MAX_FRAME]) -> usize {
    let mut plain = [0u8; MAX_FRAME];
    // A message takes 20 bytes at most and the wakes 26, so that neither they nor the rest can run out of room.
    let mut used = match postcard::to_slice(message, &mut plain) {
        Ok(used) => used.len(),
        Err(_) => return 0,
    };
    if let (Some(wakes), Some(rest)) = (&message.wakes, plain.get_mut(used..)) {
        used += match postcard::to_slice(wakes, rest) {
            Ok(wakes) => wakes.len(),
            Err(_) => return 0,
        };
    }
    let crc = crc16(plain.get(..used).unwrap_or(&[]));
    for (slot, byte) in plain.iter_mut().skip(used).zip(crc.to_le_bytes()) {
        *slot = byte;
    }
    stuff(plain.iter().copied().take(used + 2), frame)
}

/// COBS of at most 61 bytes: each zero is replaced by the distance to the next, with the first distance ahead, and a zero
/// ends the frame.
fn stuff(bytes: impl Iterator<Item = u8>, frame: &mut [u8; MAX_FRAME]) -> usize {
    let mut code_at = 0;
    let mut code = 1u8;
    let mut at = 1;
    for byte in bytes {
        if byte == 0 {
            set(frame, code_at, code);
            code_at = at;
            code = 1;
        } else {
            set(frame, at, byte);
            code = code.saturating_add(1);
        }
        at += 1;
    }
    set(frame, code_at, code);
    set(frame, at, 0);
    at + 1
}

fn set(frame: &mut [u8; MAX_FRAME], at: usize, byte: u8) {
    if let Some(slot) = frame.get_mut(at) {
        *slot = byte;
    }
}

/// Puts frames together again from bytes as they come.
#[derive(Clone, Debug)]
pub struct Decoder {
    bytes: [u8; MAX_FRAME],
    /// Bytes since the last frame's end; more than there is room for when the frame is too long.
    used: usize,
    rejected: u32,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub const fn new() -> Self {
        Decoder { bytes: [0; MAX_FRAME], used: 0, rejected: 0 }
    }

    /// Frames thrown away for a wrong length, checksum or content.
    pub const fn rejected(&self) -> u32 {
        self.rejected
    }

    /// Takes one byte; returns the message that it completes.
    pub fn push(&mut self, byte: u8) -> Option<Message> {
        if byte != 0 {
            set(&mut self.bytes, self.used, byte);
            self.used = self.used.saturating_add(1);
            return None;
        }
        let message = self.bytes.get(..self.used).and_then(unpack);
        if message.is_none() && self.used > 0 {
            self.rejected = self.rejected.saturating_add(1);
        }
        self.used = 0;
        message
    }
}

/// The message in the bytes of a frame before its final zero.
fn unpack(frame: &[u8]) -> Option<Message> {
    let mut plain = [0; MAX_FRAME];
    let mut length = 0usize;
    let mut rest = frame;
    while let Some((&code, after)) = rest.split_first() {
        let (block, next) = after.split_at_checked(usize::from(code).checked_sub(1)?)?;
        plain.get_mut(length..length + block.len())?.copy_from_slice(block);
        // The zero that a block stands for is there already, unless the block is the last.
        length += block.len() + usize::from(!next.is_empty());
        rest = next;
    }
    let (payload, seal) = plain.get(..length)?.split_at_checked(length.checked_sub(2)?)?;
    if crc16(payload).to_le_bytes() != seal {
        return None;
    }
    let (message, rest): (Message, _) = postcard::take_from_bytes(payload).ok()?;
    if rest.is_empty() {
        return Some(message);
    }
    let (wakes, rest) = postcard::take_from_bytes(rest).ok()?;
    rest.is_empty().then_some(message.with_wakes(Some(wakes)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    fn message(sequence: u16, point: u8, period_ms: u32, soc: f32) -> Message {
        Message::new(sequence, point, Reason::Budget).with_period_ms(period_ms).with_soc(soc).with_volts(3.7)
    }

    fn frame(message: &Message) -> Vec<u8> {
        let mut bytes = [0; MAX_FRAME];
        let used = encode(message, &mut bytes);
        bytes[..used].to_vec()
    }

    /// The frame of a message without wakes is what it was before there were any.
    #[test]
    fn link_messages_of_older_firmware_are_read() {
        let old = [5, 7, 3, 3, 100, 1, 1, 8, 63, 205, 204, 108, 64, 109, 151, 0];
        let sent = message(7, 3, 100, 0.5);
        assert_eq!(frame(&sent), old);
        let mut decoder = Decoder::new();
        assert_eq!(old.iter().find_map(|byte| decoder.push(*byte)), Some(sent));
    }

    #[test]
    fn link_longest_message_fits_its_frame() {
        let wakes = Wakes::new(u32::MAX, u32::MAX, u32::MAX, u32::MAX).with_next(Some(u32::MAX));
        let sent = Message::new(u16::MAX, u8::MAX, Reason::ExternalPower).with_period_ms(u32::MAX).with_soc(-1.1);
        let sent = sent.with_volts(-1.1).with_wakes(Some(wakes));
        let frame = frame(&sent);
        assert!(frame.len() <= MAX_FRAME - 8, "{}", frame.len());
        let mut decoder = Decoder::new();
        assert_eq!(frame.iter().find_map(|byte| decoder.push(*byte)), Some(sent));
    }

    fn wakes() -> impl Strategy<Value = Option<Wakes>> {
        let wakes = |(boots, by_motion, cuts, missed, next)| Wakes::new(boots, by_motion, cuts, missed).with_next(next);
        proptest::option::of(any::<(u32, u32, u32, u32, Option<u32>)>().prop_map(wakes))
    }

    proptest! {
        #[test]
        fn link_message_that_is_sent_arrives(
            sequence: u16, point: u8, period_ms: u32, soc in 0f32..1.0, wakes in wakes()
        ) {
            let sent = message(sequence, point, period_ms, soc).with_wakes(wakes);
            let frame = frame(&sent);
            prop_assert!(frame.len() <= MAX_FRAME);
            prop_assert_eq!(frame.iter().position(|b| *b == 0), Some(frame.len() - 1));
            let mut decoder = Decoder::new();
            let got: Vec<Message> = frame.iter().filter_map(|b| decoder.push(*b)).collect();
            prop_assert_eq!(got, [sent]);
            // The same framing as the crate `cobs` makes.
            let mut plain = [0; MAX_FRAME];
            let used = cobs::decode(&frame, &mut plain).unwrap();
            prop_assert!(used > 10);
        }

        #[test]
        fn link_noise_is_rejected_and_the_next_frame_is_found(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let sent = message(7, 3, 100, 0.5);
            let mut decoder = Decoder::new();
            let mut got: Vec<Message> = noise.iter().filter_map(|b| decoder.push(*b)).collect();
            prop_assert!(got.is_empty());
            decoder.push(0);
            got.extend(frame(&sent).iter().filter_map(|b| decoder.push(*b)));
            prop_assert_eq!(got, [sent]);
        }

        #[test]
        fn link_frame_with_a_flipped_bit_never_makes_a_message(bit in 0usize..8, at in 0usize..32) {
            let mut bytes = frame(&message(300, 9, 33, 0.25));
            let at = at % (bytes.len() - 1);
            bytes[at] ^= 1 << bit;
            let mut decoder = Decoder::new();
            prop_assert_eq!(bytes.iter().find_map(|b| decoder.push(*b)), None);
        }
    }
}
