//! The firmware for Arm's MPS2 board with image AN386 (Cortex-M4F), as QEMU emulates it, on a mocked I2C bus.
//!
//! For another board: its HAL's I2C and UART take the places of the bench and of [`Uart`], a timer that of the bench's steps, and
//! its real-time clock and pins those of the bench's lines. Where the configuration has a wake plan the loop is a `Keeper`, else a
//! `Companion`.

use companion_mcu::Config;
use companion_mcu::bench::{play, play_bursts};
use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};

mod uart;

use uart::Uart;

/// The policy in flash: of a board that is always on, and of one that is switched off between bursts. A real firmware has one of
/// them.
static CONFIG: &[u8] = include_bytes!("../../config.postcard");
static BURSTS: &[u8] = include_bytes!("../../bursts.postcard");

#[entry]
fn main() -> ! {
    let done = run();
    debug::exit(if done.is_some() { EXIT_SUCCESS } else { EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}

/// Both days on the bench; none when a configuration is refused.
fn run() -> Option<()> {
    day()?;
    day_of_bursts()?;
    #[cfg(feature = "log")]
    {
        measure();
        defmt::debug!("stack: {} bytes at most", stack_used());
    }
    Some(())
}

fn refused(_error: companion_mcu::ConfigError) -> Option<()> {
    #[cfg(feature = "log")]
    match _error {
        companion_mcu::ConfigError::Mission(error) => defmt::error!("the configuration in flash is refused: {}", error),
        companion_mcu::ConfigError::Wake(error) => defmt::error!("the configuration in flash is refused: {}", error),
        _ => defmt::error!("the configuration in flash is refused"),
    }
    None
}

/// A board that is switched off between bursts. In a frame of its own: what it takes of the stack is given back.
#[inline(never)]
fn day_of_bursts() -> Option<()> {
    let config = match Config::from_postcard(BURSTS) {
        Ok(config) => config,
        Err(error) => return refused(error),
    };
    let played = play_bursts(&config, Uart::new(), |_second, _kept| {
        #[cfg(feature = "log")]
        if let (21_600..=45_000, Some(event)) = (_second, _kept.event) {
            defmt::info!("second {}: {}", _second, event);
        }
    });
    let _counts = match played {
        Ok(counts) => counts,
        Err(error) => return refused(error),
    };
    #[cfg(feature = "log")]
    defmt::info!("wakes: {} boots, {} by motion, {} cut off", _counts.boots, _counts.by_motion, _counts.cuts);
    Some(())
}

/// A board that is always on.
#[inline(never)]
fn day() -> Option<()> {
    let config = match Config::from_postcard(CONFIG) {
        Ok(config) => config,
        Err(error) => return refused(error),
    };
    #[cfg(feature = "log")]
    let mut before = None;
    let played = play(&config, Uart::new(), |_step, _message| {
        #[cfg(feature = "log")]
        {
            use dyn_perceiver_core::energy::Reason;

            // Normal running changes from minute to minute and is not worth a line each time.
            let reason = if _message.reason == Reason::Hold { Reason::Budget } else { _message.reason };
            if before != Some(reason) {
                before = Some(reason);
                defmt::info!("minute {}: point {}, {}", _step, _message.point, reason);
            }
        }
    });
    played.map_or_else(refused, Some)
}

/// Counts the instructions of a decision. Under `-icount shift=0` QEMU's clock goes on by one nanosecond with every
/// instruction, and the processor's timer counts 25 MHz of it: 40 instructions a tick.
#[cfg(feature = "log")]
#[inline(never)]
fn measure() {
    use core::hint::black_box;
    use core::time::Duration;

    use dyn_perceiver_core::energy::{GaugeReading, GaugeState, Governor, GovernorInput};

    const RUNS: u32 = 1000;
    let Ok(config) = Config::from_postcard(CONFIG) else { return };
    let (Ok(mut governor), Some(mut core)) = (config.governor(), cortex_m::Peripherals::take()) else { return };
    core.SYST.set_clock_source(cortex_m::peripheral::syst::SystClkSource::Core);
    core.SYST.set_reload(0x00FF_FFFF);
    core.SYST.clear_current();
    core.SYST.enable_counter();
    let mut measure = |step: Duration| {
        let mut ticks = 0;
        for run in 0..RUNS {
            let soc = 1.0 - run as f32 / 4000.0;
            let input = GovernorInput::new(step * run, GaugeState::Good(GaugeReading::new(soc).with_volts(3.8)));
            let input = black_box(input.with_frames(10, 5.0));
            let before = cortex_m::peripheral::SYST::get_current();
            black_box(governor.choose(&input));
            // It counts down, in 24 bits.
            ticks += before.wrapping_sub(cortex_m::peripheral::SYST::get_current()) & 0x00FF_FFFF;
        }
        ticks * 40 / RUNS
    };
    let full = measure(config.settings.dwell);
    let held = measure(Duration::ZERO);
    defmt::debug!("instructions of a full decision: {}, between decisions: {}", full, held);
}

/// Bytes of the stack that were ever used: the start-up code paints RAM, and the lowest word that lost its paint tells.
#[cfg(feature = "log")]
fn stack_used() -> usize {
    unsafe extern "C" {
        static _stack_start: u32;
    }
    let top = (&raw const _stack_start) as usize;
    let bottom = cortex_m_rt::heap_start() as usize;
    let painted = (bottom..top).step_by(4).take_while(|address| {
        // SAFETY: from the end of the static variables to the top of the stack there is RAM, and reading it changes nothing.
        let word = unsafe { (*address as *const u32).read_volatile() };
        word == cortex_m_rt::STACK_PAINT_VALUE
    });
    top - bottom - 4 * painted.count()
}

/// With logging, a panic is logged and ends the program.
#[cfg(feature = "log")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    defmt::error!("panicked");
    debug::exit(EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}

/// Without logging there must be no panic: whatever still reaches this does not link.
#[cfg(not(feature = "log"))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        fn a_path_to_a_panic_is_left() -> !;
    }
    // SAFETY: never linked, and so never called.
    unsafe { a_path_to_a_panic_is_left() }
}

#[cfg(feature = "log")]
use defmt_semihosting as _;
#[cfg(feature = "log")]
defmt::timestamp!("");
