//! Chips on an I2C bus of Linux, opened by name.

use linux_embedded_hal::I2cdev;

use super::any::{AnyGauge, AnyMonitor, any_gauge, any_monitor};
use super::name::{Name, OpenError};
use crate::energy::drivers::{
    Bq27441, Channel, Ina2xx, Ina260, Ina3221, Lc709203f, Max17040, Max17048, PiJuice, PiSugar2, PiSugar3,
};

/// Where a UPS HAT usually has its INA219.
const UPS_HAT: u8 = 0x43;

/// Opens a fuel gauge.
pub(super) fn gauge(name: &Name<'_>) -> Result<AnyGauge, OpenError> {
    let parts = name.parts(1, if name.kind.name == "lc709203f" { 2 } else { 1 })?;
    let capacity = match parts.get(1) {
        Some(text) => Some(positive(text).ok_or_else(|| name.wrong())?),
        None => None,
    };
    let bus = bus(name, parts.first().copied().unwrap_or_default())?;
    Ok(match name.kind.name {
        "bq27441" => any_gauge(Bq27441::new(bus)),
        "lc709203f" => {
            let gauge = Lc709203f::new(bus);
            any_gauge(match capacity {
                Some(milliampere_hours) => gauge.with_capacity_mah(milliampere_hours),
                None => gauge,
            })
        }
        "max17040" | "max17043" => any_gauge(Max17040::new(bus)),
        "max17041" | "max17044" => any_gauge(Max17040::max17041(bus)),
        "max17048" => any_gauge(Max17048::new(bus)),
        "max17049" => any_gauge(Max17048::max17049(bus)),
        "pijuice" => any_gauge(PiJuice::new(bus)),
        "pisugar2" => any_gauge(PiSugar2::new(bus)),
        "pisugar2-plus" => any_gauge(PiSugar2::plus(bus)),
        "pisugar3" => any_gauge(PiSugar3::new(bus)),
        _ => return Err(name.wrong()),
    })
}

/// What is written of a power monitor, before its bus is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Parts<'a> {
    bus: &'a str,
    address: u8,
    /// Of the shunt; negative where it is wired so that charging reads positive.
    ohms: f32,
    channel: Channel,
}

impl<'a> Parts<'a> {
    fn parse(name: &Name<'a>) -> Result<Self, OpenError> {
        let parts = match name.kind.name {
            "ups-hat" => name.parts(1, 2)?,
            "ina260" => name.parts(2, 2)?,
            "ina3221" => name.parts(3, 4)?,
            _ => name.parts(3, 3)?,
        };
        let [bus, address, ohms, channel] = [0, 1, 2, 3].map(|index| parts.get(index).copied());
        let parsed = || {
            Some(Parts {
                bus: bus?,
                address: address.map_or(Some(UPS_HAT), parse_address)?,
                ohms: ohms.map_or(Some(1.0), parse_ohms)?,
                channel: channel.map_or(Some(Channel::One), |text| Channel::numbered(text.parse().ok()?))?,
            })
        };
        parsed().ok_or_else(|| name.wrong())
    }
}

/// Opens a power monitor.
pub(super) fn monitor(name: &Name<'_>) -> Result<AnyMonitor, OpenError> {
    let Parts { bus: path, address, ohms, channel } = Parts::parse(name)?;
    let bus = bus(name, path)?;
    let (reversed, ohms) = (ohms < 0.0, ohms.abs());
    // The largest current is what the shunt's full scale is reached at.
    let shunt = |full_scale: f32| full_scale / ohms;
    Ok(match name.kind.name {
        "ina219" | "ina226" | "ups-hat" => {
            let chip = match name.kind.name {
                "ina219" => Ina2xx::ina219(bus, address, ohms, shunt(0.32)),
                "ina226" => Ina2xx::ina226(bus, address, ohms, shunt(0.08192)),
                _ => Ina2xx::ups_hat(bus, address),
            };
            let chip = chip.map_err(|_| name.wrong())?;
            any_monitor(if reversed { chip.charging_positive() } else { chip })
        }
        "ina260" => any_monitor(Ina260::new(bus, address)),
        "ina3221" => {
            let chip = Ina3221::new(bus, address, channel, ohms);
            any_monitor(if reversed { chip.charging_positive() } else { chip })
        }
        _ => return Err(name.wrong()),
    })
}

fn bus(name: &Name<'_>, path: &str) -> Result<I2cdev, OpenError> {
    if path.is_empty() {
        return Err(name.wrong());
    }
    I2cdev::new(path).map_err(|error| OpenError::Bus { path: path.into(), source: error.into() })
}

/// A 7-bit address in decimal or, after 0x, hexadecimal.
fn parse_address(text: &str) -> Option<u8> {
    let parsed = match text.strip_prefix("0x") {
        Some(hexadecimal) => u8::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.ok().filter(|address| (0x08..0x78).contains(address))
}

/// Ohms of a shunt, which may be negative but not zero.
fn parse_ohms(text: &str) -> Option<f32> {
    text.parse().ok().filter(|ohms: &f32| ohms.is_finite() && *ohms != 0.0)
}

fn positive(text: &str) -> Option<f32> {
    text.parse().ok().filter(|number: &f32| number.is_finite() && *number > 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::open::{SensorRole, open_gauge, open_monitor};
    use super::*;

    #[test]
    fn chip_names_that_are_wrong_are_told_their_form() {
        let text = |result: Result<(), OpenError>| result.unwrap_err().to_string();
        let gauge = |name: &str| text(open_gauge(name).map(|_| ()));
        let monitor = |name: &str| text(open_monitor(name).map(|_| ()));
        assert_eq!(gauge("max17048"), "\"max17048\": expected max17048:BUS");
        assert_eq!(gauge("max17048:/dev/i2c-1:2"), "\"max17048:/dev/i2c-1:2\": expected max17048:BUS");
        assert_eq!(gauge("lc709203f:/dev/i2c-1:none"), "\"lc709203f:/dev/i2c-1:none\": expected lc709203f:BUS[:MAH]");
        for name in ["max17048", "lc709203f", "pijuice", "pisugar2", "pisugar2-plus", "max17040"] {
            assert_eq!(gauge(&format!("{name}:/dev/no-such-bus")), "/dev/no-such-bus: cannot be opened");
        }
        for name in ["ina219:/dev/no-such-bus:0x40:0.1", "ina260:/dev/no-such-bus:64", "ups-hat:/dev/no-such-bus"] {
            assert_eq!(monitor(name), "/dev/no-such-bus: cannot be opened");
        }
        let bad = ["ina3221:/dev/i2c-1:0x40", "ina3221:/dev/i2c-1:0x40:0.1:4", "ina3221:/dev/i2c-1:0x40:0.1:2:3"];
        for name in bad {
            assert_eq!(monitor(name), format!("{name:?}: expected ina3221:BUS:ADDRESS:OHMS[:CHANNEL]"));
        }
        for name in ["ina219:/dev/i2c-1:0x99:0.1", "ina219:/dev/i2c-1:0x40:0", "ina219:/dev/i2c-1:0x40:0.1:2"] {
            assert_eq!(monitor(name), format!("{name:?}: expected ina219:BUS:ADDRESS:OHMS"));
        }
    }

    #[test]
    fn chip_channel_and_reversed_shunt_are_read_off_the_name() {
        let parts = |name: &'static str| {
            let name = Name::parse(name, SensorRole::Monitor).unwrap();
            let Parts { bus, address, ohms, channel } = Parts::parse(&name).unwrap();
            (bus, address, ohms, channel)
        };
        assert_eq!(parts("ina3221:/dev/i2c-1:0x40:0.1"), ("/dev/i2c-1", 0x40, 0.1, Channel::One));
        assert_eq!(parts("ina3221:/dev/i2c-1:64:0.1:3"), ("/dev/i2c-1", 64, 0.1, Channel::Three));
        assert_eq!(parts("ina219:/dev/i2c-1:0x43:-0.01").2, -0.01);
        assert_eq!(parts("ups-hat:/dev/i2c-1").1, 0x43);
    }
}
