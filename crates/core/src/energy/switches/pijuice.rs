//! PiJuice: its microcontroller has a clock with an alarm, and cuts the supply when it is told to.

use core::time::Duration;

use embedded_hal::i2c::I2c;

use super::calendar::{Moment, from_bcd, to_bcd};
use super::{PowerSwitch, SwitchError, check};
use crate::energy::drivers::{I2cError, Registers};

const ADDRESS: u8 = 0x14;
/// Seconds until the supply is cut.
const POWER_OFF: u8 = 0x62;
const LONGEST_CUT: u64 = 250;
/// Second, minute, hour, day of the week, day, month, year, parts of a second, summer time.
const TIME: u8 = 0xB0;
/// Second, minute, hour, day, three bytes of hours, period of minutes, days of the week.
const ALARM: u8 = 0xB9;
/// What wakes, and what has happened.
const CONTROL: u8 = 0xC2;
/// CONTROL, first byte: the alarm wakes the board.
const WAKE: u8 = 0x05;
/// CONTROL, second byte: the alarm has gone off.
const GONE_OFF: u8 = 0x01;
/// TIME, hour: twelve hours, and the second half of the day.
const TWELVE_HOURS: u8 = 0x40;
const AFTERNOON: u8 = 0x20;
/// Time that the alarm takes to be kept.
const SETTLING: Duration = Duration::from_millis(200);

/// The board at its usual address 0x14.
///
/// It does not see when the board has halted: [`cut_after`](PowerSwitch::cut_after) tells it.
#[derive(Clone, Debug)]
pub struct PiJuiceSwitch<I> {
    registers: Registers<I>,
}

impl<I: I2c> PiJuiceSwitch<I> {
    /// The board on a bus.
    pub fn new(i2c: I) -> Self {
        PiJuiceSwitch { registers: Registers::new(i2c, ADDRESS) }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }

    /// `N` bytes, followed by the complement of their exclusive or.
    fn read<const N: usize, const SEALED: usize>(&mut self, register: u8) -> Result<[u8; N], I2cError> {
        let sealed: [u8; SEALED] = self.registers.read(register)?;
        let mut bytes = [0; N];
        for (slot, byte) in bytes.iter_mut().zip(sealed) {
            *slot = byte;
        }
        let (expected, actual) = (checksum(&bytes), sealed.last().copied().unwrap_or(0));
        if expected == actual { Ok(bytes) } else { Err(I2cError::Checksum { register, expected, actual }) }
    }

    /// The bytes with what seals them; at most nine.
    fn write(&mut self, register: u8, bytes: &[u8]) -> Result<(), I2cError> {
        let mut message = [0; 11];
        let sealed = [register].into_iter().chain(bytes.iter().copied()).chain([checksum(bytes)]);
        for (slot, byte) in message.iter_mut().zip(sealed) {
            *slot = byte;
        }
        self.registers.write(message.get(..bytes.len() + 2).unwrap_or(&message))
    }

    /// What the clock shows.
    fn now(&mut self) -> Result<Moment, I2cError> {
        let [second, minute, hour, _, day, month, year, ..] = self.read::<9, 10>(TIME)?;
        Ok(Moment {
            second: from_bcd(TIME, second & 0x7F, 0..=59)?,
            minute: from_bcd(TIME, minute & 0x7F, 0..=59)?,
            hour: from_hour(TIME, hour)?,
            day: from_bcd(TIME, day & 0x3F, 1..=31)?,
            month: from_bcd(TIME, month & 0x1F, 1..=12)?,
            year: from_bcd(TIME, year, 0..=99)?,
        })
    }
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xFF, |sum, byte| sum ^ byte)
}

/// An hour of the day, of twelve or of twenty-four.
fn from_hour(register: u8, raw: u8) -> Result<u8, I2cError> {
    if raw & TWELVE_HOURS == 0 {
        return from_bcd(register, raw & 0x3F, 0..=23);
    }
    let hour = from_bcd(register, raw & 0x1F, 1..=12)? % 12;
    Ok(if raw & AFTERNOON == 0 { hour } else { hour + 12 })
}

impl<I: I2c> PowerSwitch for PiJuiceSwitch<I> {
    fn wake_after(&mut self, after: Duration, wait: &mut dyn FnMut(Duration)) -> Result<(), SwitchError> {
        let seconds = check(after)?;
        let Moment { day, hour, minute, second, .. } = self.now()?.after(seconds);
        // Every hour and every day of the week that the first four bytes mean.
        let alarm = [to_bcd(second), to_bcd(minute), to_bcd(hour), to_bcd(day), 0xFF, 0xFF, 0xFF, 0x00, 0xFF];
        self.write(ALARM, &alarm)?;
        wait(SETTLING);
        let mut kept = self.read::<9, 10>(ALARM)?;
        // A clock of twelve hours gives the hour back as such.
        kept[2] = to_bcd(from_hour(ALARM, kept[2])?);
        if kept != alarm {
            return Err(SwitchError::NotKept { register: ALARM });
        }
        // It forgets that the alarm is to wake, with each alarm that has.
        let [wakes, happened] = self.read::<2, 3>(CONTROL)?;
        let control = [wakes | WAKE, happened & !GONE_OFF];
        self.write(CONTROL, &control)?;
        wait(SETTLING);
        let [wakes, _] = self.read::<2, 3>(CONTROL)?;
        if wakes & WAKE == WAKE { Ok(()) } else { Err(SwitchError::NotKept { register: CONTROL }) }
    }

    fn cut_after(&mut self, after: Duration) -> Result<(), SwitchError> {
        let seconds = u8::try_from(after.as_secs()).ok().filter(|&seconds| u64::from(seconds) <= LONGEST_CUT);
        self.write(POWER_OFF, &[seconds.ok_or(SwitchError::Time)?])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn answer(register: u8, bytes: &[u8]) -> Transaction {
        Transaction::write_read(0x14, [register].to_vec(), [bytes, &[checksum(bytes)]].concat())
    }

    fn told(register: u8, bytes: &[u8]) -> Transaction {
        Transaction::write(0x14, [&[register], bytes, &[checksum(bytes)]].concat())
    }

    fn set(bus: &[Transaction], seconds: u64) -> Result<(), SwitchError> {
        let mut switch = PiJuiceSwitch::new(Mock::new(bus));
        let result = switch.wake_after(Duration::from_secs(seconds), &mut |_| ());
        switch.release().done();
        result
    }

    /// 28 February 2028, 23:59:30, a Monday.
    const NOW: [u8; 9] = [0x30, 0x59, 0x23, 0x02, 0x28, 0x02, 0x28, 0x00, 0x00];
    /// The 29th, 00:09:30.
    const THEN: [u8; 9] = [0x30, 0x09, 0x00, 0x29, 0xFF, 0xFF, 0xFF, 0x00, 0xFF];

    #[test]
    fn pijuice_wakes_so_long_after_its_own_clock() {
        let bus = [
            answer(0xB0, &NOW),
            told(0xB9, &THEN),
            answer(0xB9, &THEN),
            // The last alarm has gone off, and wakes no more.
            answer(0xC2, &[0x00, 0x01]),
            told(0xC2, &[0x05, 0x00]),
            answer(0xC2, &[0x05, 0x00]),
        ];
        assert_eq!(set(&bus, 600), Ok(()));
    }

    #[test]
    fn pijuice_with_a_clock_of_twelve_hours_is_understood() {
        for (raw, hour) in [(0x52, 0), (0x41, 1), (0x51, 11), (0x72, 12), (0x61, 13), (0x71, 23), (0x23, 23)] {
            assert_eq!(from_hour(TIME, raw), Ok(hour), "{raw:#x}");
        }
        let mut now = NOW;
        now[2] = 0x71;
        let mut kept = THEN;
        kept[2] = 0x52;
        let control = [0x05, 0x00];
        let bus = [
            answer(0xB0, &now),
            told(0xB9, &THEN),
            answer(0xB9, &kept),
            answer(0xC2, &control),
            told(0xC2, &control),
            answer(0xC2, &control),
        ];
        assert_eq!(set(&bus, 600), Ok(()));
    }

    #[test]
    fn pijuice_tells_what_was_not_kept_or_came_damaged() {
        let mut lost = THEN;
        lost[1] = 0x08;
        let bus = [answer(0xB0, &NOW), told(0xB9, &THEN), answer(0xB9, &lost)];
        assert_eq!(set(&bus, 600), Err(SwitchError::NotKept { register: 0xB9 }));
        let spoiled = Transaction::write_read(0x14, [0xB0].to_vec(), [NOW.as_slice(), &[0x00]].concat());
        assert!(matches!(set(&[spoiled], 600), Err(SwitchError::Chip(I2cError::Checksum { register: 0xB0, .. }))));
        let mut none = NOW;
        none[4] = 0x00;
        assert!(matches!(set(&[answer(0xB0, &none)], 600), Err(SwitchError::Chip(I2cError::OutOfRange { .. }))));
        assert_eq!(set(&[], 0), Err(SwitchError::Time));
    }

    #[test]
    fn pijuice_cuts_the_supply_when_it_is_told_to() {
        let mut switch = PiJuiceSwitch::new(Mock::new(&[told(0x62, &[60])]));
        assert_eq!(switch.cut_after(Duration::from_secs(60)), Ok(()));
        assert_eq!(switch.cut_after(Duration::from_secs(251)), Err(SwitchError::Time));
        switch.release().done();
    }
}
