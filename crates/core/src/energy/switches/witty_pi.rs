//! Witty Pi 4: a board between supply and Raspberry Pi, whose microcontroller has a clock and a start-up alarm.

use core::time::Duration;

use embedded_hal::i2c::I2c;

use super::calendar::{Moment, from_bcd, to_bcd};
use super::{PowerSwitch, SwitchError, check, keep};
use crate::energy::drivers::{I2cError, Registers};

const ADDRESS: u8 = 0x08;
const ID: u8 = 0;
/// Of Witty Pi 4 and of Witty Pi 4 L3V7.
const IDS: [u8; 2] = [0x26, 0x37];
/// Second, minute, hour and day of the month of the start-up alarm. Writing any of them makes it count again.
const ALARM: u8 = 27;
/// The clock, one register each.
const SECONDS: u8 = 58;
const MINUTES: u8 = 59;
const HOURS: u8 = 60;
const DAYS: u8 = 61;
const MONTHS: u8 = 63;
const YEARS: u8 = 64;
/// SECONDS: the clock has stood still, and its time is none.
const STOPPED: u8 = 0x80;

/// The board at its usual address 0x08.
///
/// It cuts the supply of itself once the Raspberry Pi has halted. For that its own daemon must run there, which tells it by a
/// line that the system is up.
#[derive(Clone, Debug)]
pub struct WittyPi4<I> {
    registers: Registers<I>,
}

impl<I: I2c> WittyPi4<I> {
    /// The board on a bus.
    pub fn new(i2c: I) -> Self {
        WittyPi4 { registers: Registers::new(i2c, ADDRESS) }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }

    /// Each of its registers is read by itself: it answers one byte at a time.
    fn byte(&mut self, register: u8) -> Result<u8, I2cError> {
        let [value] = self.registers.read(register)?;
        Ok(value)
    }

    fn decimal(&mut self, register: u8, range: core::ops::RangeInclusive<u8>) -> Result<u8, I2cError> {
        let raw = self.byte(register)?;
        from_bcd(register, raw, range)
    }

    fn second(&mut self) -> Result<u8, I2cError> {
        let raw = self.byte(SECONDS)?;
        if raw & STOPPED != 0 {
            return Err(I2cError::NotReady { register: SECONDS });
        }
        from_bcd(SECONDS, raw, 0..=59)
    }

    /// What the clock shows. Read again where the minute may have passed meanwhile.
    fn now(&mut self) -> Result<Moment, I2cError> {
        let mut read = || {
            let before = self.second()?;
            let (minute, hour) = (self.decimal(MINUTES, 0..=59)?, self.decimal(HOURS, 0..=23)?);
            let (day, month) = (self.decimal(DAYS, 1..=31)?, self.decimal(MONTHS, 1..=12)?);
            let year = self.decimal(YEARS, 0..=99)?;
            let second = self.second()?;
            Ok((second >= before, Moment { year, month, day, hour, minute, second }))
        };
        let (whole, moment) = read()?;
        if whole { Ok(moment) } else { read().map(|(_, moment)| moment) }
    }
}

impl<I: I2c> PowerSwitch for WittyPi4<I> {
    fn wake_after(&mut self, after: Duration, _: &mut dyn FnMut(Duration)) -> Result<(), SwitchError> {
        let seconds = check(after)?;
        let id = self.byte(ID)?;
        if !IDS.contains(&id) {
            return Err(I2cError::OutOfRange { register: ID, raw: id.into() }.into());
        }
        let alarm = self.now()?.after(seconds);
        let parts = [alarm.second, alarm.minute, alarm.hour, alarm.day];
        for (register, part) in (ALARM..).zip(parts) {
            keep(&mut self.registers, register, to_bcd(part))?;
        }
        Ok(())
    }

    fn cut_after(&mut self, _: Duration) -> Result<(), SwitchError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
    use std::vec::Vec;

    use super::*;

    fn answer(register: u8, value: u8) -> Transaction {
        Transaction::write_read(0x08, [register].to_vec(), [value].to_vec())
    }

    fn kept(register: u8, value: u8) -> [Transaction; 2] {
        [Transaction::write(0x08, [register, value].to_vec()), answer(register, value)]
    }

    /// The clock's registers, with the seconds before and after.
    fn clock(before: u8, [minute, hour, day, month, year]: [u8; 5], after: u8) -> Vec<Transaction> {
        let bytes = [(58, before), (59, minute), (60, hour), (61, day), (63, month), (64, year), (58, after)];
        bytes.into_iter().map(|(register, value)| answer(register, value)).collect()
    }

    fn set(bus: &[Transaction], seconds: u64) -> Result<(), SwitchError> {
        let mut switch = WittyPi4::new(Mock::new(bus));
        let result = switch.wake_after(Duration::from_secs(seconds), &mut |_| ());
        switch.release().done();
        result
    }

    #[test]
    fn witty_pi_wakes_so_long_after_its_own_clock() {
        // 31 December 2026, 23:55:10; ten minutes later is the first, 00:05:10.
        let mut bus = [answer(0, 0x26)].to_vec();
        bus.extend(clock(0x10, [0x55, 0x23, 0x31, 0x12, 0x26], 0x10));
        bus.extend([kept(27, 0x10), kept(28, 0x05), kept(29, 0x00), kept(30, 0x01)].concat());
        assert_eq!(set(&bus, 600), Ok(()));
    }

    #[test]
    fn witty_pi_reads_a_clock_again_whose_minute_passed_meanwhile() {
        let mut bus = [answer(0, 0x37)].to_vec();
        bus.extend(clock(0x59, [0x00, 0x12, 0x05, 0x06, 0x26], 0x00));
        bus.extend(clock(0x00, [0x01, 0x12, 0x05, 0x06, 0x26], 0x01));
        bus.extend([kept(27, 0x01), kept(28, 0x11), kept(29, 0x12), kept(30, 0x05)].concat());
        assert_eq!(set(&bus, 600), Ok(()));
    }

    #[test]
    fn witty_pi_refuses_other_boards_stopped_clocks_and_alarms_that_are_not_kept() {
        let other = I2cError::OutOfRange { register: 0, raw: 0x25 };
        assert_eq!(set(&[answer(0, 0x25)], 600), Err(SwitchError::Chip(other)));
        let stopped = I2cError::NotReady { register: 58 };
        assert_eq!(set(&[answer(0, 0x26), answer(58, 0x80)], 600), Err(SwitchError::Chip(stopped)));
        let mut bus = [answer(0, 0x26)].to_vec();
        bus.extend(clock(0x10, [0x55, 0x23, 0x31, 0x12, 0x26], 0x10));
        bus.extend([Transaction::write(0x08, [27, 0x10].to_vec()), answer(27, 0x00)]);
        assert_eq!(set(&bus, 600), Err(SwitchError::NotKept { register: 27 }));
        for seconds in [4, 28 * 86_400] {
            assert_eq!(set(&[], seconds), Err(SwitchError::Time));
        }
    }
}
