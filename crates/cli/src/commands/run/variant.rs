//! On how many threads and at which clock a frame costs least, by a profile that has swept over them.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context as _;
use dyn_perceiver::energy::PowerModel;
use dyn_perceiver::sensors::profile::{Profile, Variant};
use dyn_perceiver_host::{Clocks, System};

use crate::output::failure::{Failure, OrInput as _, wrong};

/// What the choice is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// The number of threads, where one was given.
    pub threads: Option<NonZeroUsize>,
    /// Whether the clock may be changed.
    pub clock: bool,
    /// Time from frame to frame; zero where the next begins when one is done.
    pub period: Duration,
    /// Whether the board is off once the work is done, so that idling counts while a frame takes.
    pub ends: bool,
}

/// The variant of a profile to run with: of those that are fast enough the one whose frames cost least. None where the profile
/// has not measured any, or none that fits.
pub(super) fn choose(profile: &Profile, need: Need) -> Option<&Variant> {
    let fastest = profile.variants.iter().filter_map(|variant| variant.megahertz).fold(0.0, f64::max);
    // Without a pause there is no idling but while frames take.
    let idle = if need.ends || need.period.is_zero() { profile.idle_watts } else { 0.0 };
    let fits = |variant: &&Variant| {
        need.threads.is_none_or(|threads| threads.get() == variant.threads)
            && (need.clock || variant.megahertz.is_none_or(|megahertz| megahertz >= fastest))
            && (need.period.is_zero() || variant.seconds <= need.period.as_secs_f64())
    };
    let cost = |variant: &Variant| Some(variant.joules? + idle * variant.seconds);
    let known = profile.variants.iter().filter(fits).filter_map(|variant| Some((variant, cost(variant)?)));
    known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(variant, _)| variant)
}

/// What stages cost and take with a variant: those of the profile, as much dearer and slower as the whole network is.
pub(super) fn costs(profile: &Profile, variant: &Variant) -> Result<(PowerModel, Vec<f32>), Failure> {
    let (seconds, joules) =
        profile.stages.iter().fold((0.0, 0.0), |sum, stage| (sum.0 + stage.seconds, sum.1 + stage.joules));
    let ratio = |new: f64, old: f64| if old > 0.0 { new / old } else { 1.0 };
    let dearer = ratio(variant.joules.unwrap_or(joules), joules);
    let slower = ratio(variant.seconds, seconds);
    let stages: Vec<f32> = profile.stages.iter().map(|stage| (stage.joules * dearer) as f32).collect();
    let power = PowerModel::new(profile.idle_watts as f32, &stages, profile.source).or_input()?;
    Ok((power, profile.stages.iter().map(|stage| (stage.seconds * slower) as f32).collect()))
}

/// A variant in words, and among how many it is the cheapest.
pub(super) fn in_words(profile: &Profile, variant: &Variant) -> String {
    let threads = if variant.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", variant.threads) };
    let clock = variant.megahertz.map_or(String::new(), |megahertz| format!(" at {megahertz:.0} MHz"));
    let joules = variant.joules.map_or(String::new(), |joules| format!(", {:.3} mJ a whole frame", 1e3 * joules));
    format!("{threads}{clock}{joules}: the least of {} measured", profile.variants.len())
}

/// Holds the processor at the variant's clock until the returned value is dropped; nothing where it has none.
pub(super) fn hold(system: &System, variant: &Variant) -> Result<Option<Clocks>, Failure> {
    let Some(megahertz) = variant.megahertz else { return Ok(None) };
    let Some(clocks) = Clocks::of(system) else {
        return wrong("--set-clock: the clock cannot be set here (/sys/devices/system/cpu/cpufreq)");
    };
    clocks.limit(megahertz).with_context(|| format!("--set-clock: setting the clock to {megahertz:.0} MHz"))?;
    Ok(Some(clocks))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half a watt idle; one stage of 10 ms and 5 mJ, and what a sweep found.
    fn profile() -> Profile {
        let variant = |threads: usize, megahertz: f64, seconds: f64, joules: f64| {
            serde_json::json!({"threads": threads, "megahertz": megahertz, "seconds": seconds, "joules": joules,
                "standard_error": null})
        };
        serde_json::from_value(serde_json::json!({
            "source": "measured", "method": "a meter", "idle_watts": 0.5, "threads": 1,
            "stages": [
                {"exit": "a", "joules": 0.002, "standard_error": null, "seconds": 0.004, "cumulative_joules": 0.002},
                {"exit": "b", "joules": 0.003, "standard_error": null, "seconds": 0.006, "cumulative_joules": 0.005},
            ],
            "variants": [
                variant(1, 600.0, 0.030, 0.003), variant(2, 600.0, 0.018, 0.0035),
                variant(1, 1800.0, 0.010, 0.005), variant(2, 1800.0, 0.006, 0.007),
            ],
        }))
        .unwrap()
    }

    fn chosen(need: Need) -> Option<(usize, Option<f64>)> {
        choose(&profile(), need).map(|variant| (variant.threads, variant.megahertz))
    }

    #[test]
    fn the_cheapest_that_is_fast_enough_is_chosen() {
        let ms = Duration::from_millis;
        let need = Need { threads: None, clock: true, period: ms(1000), ends: false };
        assert_eq!(chosen(need), Some((1, Some(600.0))));
        assert_eq!(chosen(Need { period: ms(20), ..need }), Some((2, Some(600.0))));
        assert_eq!(chosen(Need { period: ms(8), ..need }), Some((2, Some(1800.0))));
        assert_eq!(chosen(Need { period: ms(1), ..need }), None);
        assert_eq!(chosen(Need { clock: false, ..need }), Some((1, Some(1800.0))));
        assert_eq!(chosen(Need { threads: NonZeroUsize::new(2), ..need }), Some((2, Some(600.0))));
        // Where the board is switched off afterwards, or never rests, half a watt of idling makes haste pay.
        assert_eq!(chosen(Need { ends: true, ..need }), Some((1, Some(1800.0))));
        assert_eq!(chosen(Need { period: Duration::ZERO, ..need }), Some((1, Some(1800.0))));
    }

    #[test]
    fn stages_are_as_much_dearer_and_slower_as_the_whole() {
        let profile = profile();
        let (power, seconds) = costs(&profile, &profile.variants[0]).unwrap();
        assert!((power.stages()[0] - 0.0012).abs() < 1e-7 && (power.stages()[1] - 0.0018).abs() < 1e-7);
        assert!((seconds[0] - 0.012).abs() < 1e-7 && (seconds[1] - 0.018).abs() < 1e-7);
        let words = in_words(&profile, &profile.variants[0]);
        assert_eq!(words, "1 thread at 600 MHz, 3.000 mJ a whole frame: the least of 4 measured");
    }

    #[test]
    fn the_clock_is_held_and_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("sys/devices/system/cpu/cpufreq/policy0");
        std::fs::create_dir_all(&policy).unwrap();
        std::fs::write(policy.join("scaling_max_freq"), "1800000\n").unwrap();
        std::fs::write(policy.join("scaling_available_frequencies"), "600000 1800000\n").unwrap();
        let limit = || std::fs::read_to_string(policy.join("scaling_max_freq")).unwrap();
        let held = hold(&System::at(folder.path()), &profile().variants[0]).unwrap();
        assert_eq!(limit(), "600000");
        drop(held);
        assert_eq!(limit(), "1800000");
        assert!(hold(&System::at("/nonexistent"), &profile().variants[0]).is_err());
    }
}
