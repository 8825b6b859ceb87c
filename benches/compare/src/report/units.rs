//! Figures as people read them.

use crate::rounds::Spread;

/// Three significant digits.
pub(crate) fn digits(value: f64) -> String {
    let places = match value.abs() {
        v if v == 0.0 || v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        v => (2.0 - v.log10().floor()).min(9.0) as usize,
    };
    format!("{value:.places$}")
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fits = units.iter().find(|(size, _)| value >= 0.9995 * size).or(units.last());
    fits.map_or_else(|| digits(value), |(size, unit)| format!("{} {unit}", digits(value / size)))
}

/// A time.
pub(crate) fn seconds(value: f64) -> String {
    scaled(value, &[(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")])
}

/// A median time and its quartiles, in one unit.
pub(crate) fn seconds_spread(spread: Spread) -> String {
    let (size, unit) = match spread.median {
        v if v >= 0.9995 => (1.0, "s"),
        v if v >= 0.9995e-3 => (1e-3, "ms"),
        _ => (1e-6, "µs"),
    };
    let [median, q1, q3] = [spread.median, spread.q1, spread.q3].map(|v| digits(v / size));
    format!("{median} {unit} ({q1}–{q3})")
}

/// A ratio: `1.04×`.
pub(crate) fn ratio(value: f64) -> String {
    format!("{value:.2}×")
}

/// A ratio and its quartiles.
pub(crate) fn ratio_spread(spread: Spread) -> String {
    format!("{:.2}× ({:.2}–{:.2})", spread.median, spread.q1, spread.q3)
}

/// Energy.
pub(crate) fn joules(value: f64) -> String {
    scaled(value, &[(1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")])
}

/// Bytes.
pub(crate) fn bytes(value: u64) -> String {
    let sizes = [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB"), (1.0, "B")];
    scaled(value as f64, &sizes)
}

/// A count: `1.65 M`.
pub(crate) fn count(value: f64) -> String {
    match value {
        v if v >= 999.5 => scaled(v, &[(1e9, "G"), (1e6, "M"), (1e3, "k")]),
        v => digits(v),
    }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A change, with its sign: `+3.1 %`.
pub(crate) fn change(ratio: f64) -> String {
    format!("{:+.1} %", 100.0 * (ratio - 1.0))
}

/// Seconds since 1970 as a date and a time, UTC. The days are counted as Howard Hinnant's `civil_from_days` does: years begin in
/// March, so that the leap day comes last.
pub(crate) fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + 400 * era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600 % 24, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_fitting_unit() {
        assert_eq!(seconds(0.012_34), "12.3 ms");
        assert_eq!(seconds(0.000_999_96), "1.00 ms");
        assert_eq!(seconds(8.5e-7), "0.850 µs");
        assert_eq!(bytes(1_572_864), "1.50 MiB");
        assert_eq!(count(1_650_000.0), "1.65 M");
        assert_eq!(count(12.0), "12.0");
        assert_eq!(digits(0.0), "0");
        assert_eq!(change(1.031), "+3.1 %");
    }

    #[test]
    fn dates_know_leap_years() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_709_251_199), "2024-02-29 23:59 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00 UTC");
    }
}
