//! What boards draw: known figures are kept, missing ones are estimated and told.

use std::num::NonZeroUsize;

use clap::Args;
use dyn_perceiver_host::{Board, Figure, Watts as KnownWatts, detect, generic};

use super::boards;
use super::number::not_negative;
use super::system;
use crate::output::failure::{Failure, wrong};

/// The board whose watts stand in where this machine's are not known.
pub(crate) const PUBLISHED: &str = "raspberry-pi-4";

/// What a board draws, to model joules with: watts x latency.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Battery and power")]
pub(crate) struct WattsArgs {
    /// Use the published watts of this board: its name (`doctor --list`) or the path of a board.toml
    #[arg(long, value_name = "NAME|FILE")]
    board: Option<String>,
    /// Set the watts of the idle board, in place of the board's figure
    #[arg(long, value_name = "WATTS", value_parser = not_negative)]
    idle_watts: Option<f32>,
    /// Set the watts while the network runs, in place of the board's figure for as many busy cores as there are threads
    #[arg(long, value_name = "WATTS", value_parser = not_negative)]
    active_watts: Option<f32>,
}

/// What a board draws that is suspended between frames.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Battery and power")]
pub(crate) struct SuspendArgs {
    /// Set the watts of the suspended board, if it can be suspended between frames
    #[arg(long, value_name = "WATTS", value_parser = not_negative)]
    suspend_watts: Option<f32>,
}

impl SuspendArgs {
    /// Whether the option is there.
    pub(crate) fn is_given(self) -> bool {
        self.suspend_watts.is_some()
    }
}

/// Watts, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Watts {
    pub idle: f32,
    pub active: f32,
    /// Suspended between frames; only where it is, see [`Watts::suspended_by`].
    pub suspended: Option<f32>,
    /// What is known of the suspended board.
    known_suspended: Option<Figure>,
    /// With one core busy, two, and so on up to all of them; empty where the watts while the network runs were given.
    busy: Vec<Figure>,
    /// What a camera that makes frames adds, and a radio that sends, where that is known.
    camera: Option<Figure>,
    radio: Option<Figure>,
    /// Switched off, where that is known.
    pub off: Option<Off>,
    /// One line for the user.
    pub source: String,
}

/// A board that is switched off between bursts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Off {
    pub watts: f32,
    pub boot_seconds: f32,
    pub boot_joules: f32,
}

impl Off {
    /// What is known of it.
    fn of(board: &Board) -> Option<Self> {
        let value = |figure: &Option<Figure>| figure.as_ref().map(|figure| figure.value as f32);
        Some(Off {
            watts: value(&board.power.off_watts)?,
            boot_seconds: value(&board.boot.seconds)?,
            boot_joules: value(&board.boot.joules)?,
        })
    }
}

/// A part that draws beside the board for as long as the loop runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Load {
    what: &'static str,
    figure: Figure,
}

impl Load {
    pub(crate) fn watts(&self) -> f32 {
        self.figure.value as f32
    }

    /// In words, with where the figure comes from.
    pub(crate) fn in_words(&self) -> String {
        let Figure { value, source, basis, .. } = &self.figure;
        format!("{} of {} ({}: {source})", in_watts(*value as f32), self.what, basis.name())
    }
}

/// Watts with as many digits as mean something.
fn in_watts(watts: f32) -> String {
    // Two digits behind the point, as elsewhere, and more only where little is drawn.
    let digits = if watts > 0.0 && watts < 0.1 { 4 } else { 2 };
    let text = format!("{watts:.digits$}");
    format!("{} W", text.trim_end_matches('0').trim_end_matches('.'))
}

impl Watts {
    /// Watts drawn between frames.
    pub(crate) fn resting(&self) -> f32 {
        self.suspended.unwrap_or(self.idle)
    }

    /// The same of a board that is suspended between frames, where the option or the board's data say what it draws then.
    pub(crate) fn suspended_by(mut self, args: SuspendArgs) -> Result<Self, Failure> {
        let given = args.suspend_watts.map(|watts| (watts, "--suspend-watts"));
        let known = self.known_suspended.as_ref().map(|figure| (figure.value as f32, figure.source.as_str()));
        let Some((watts, source)) = given.or(known) else { return Ok(self) };
        if !(0.0..=self.idle).contains(&watts) {
            let idle = self.idle;
            return wrong(format!("{watts} W suspended and {idle} W idle: expected 0 to the idle watts"));
        }
        self.source += &format!(", {} suspended ({source})", in_watts(watts));
        self.suspended = Some(watts);
        Ok(self)
    }

    /// What parts beside the board draw all the time, as far as that is known: a camera that makes frames, a radio that sends.
    pub(crate) fn loads(&self, camera: bool, radio: bool) -> Vec<Load> {
        let parts = [("the camera", &self.camera, camera), ("the radio", &self.radio, radio)];
        let known = parts.into_iter().filter(|(.., runs)| *runs);
        known.filter_map(|(what, figure, _)| Some(Load { what, figure: figure.clone()? })).collect()
    }

    /// Watts with so many threads at work.
    pub(crate) fn busy(&self, threads: NonZeroUsize) -> f32 {
        self.figure(threads).map_or(self.active, |figure| self.busy_of(figure))
    }

    /// Where the watts with so many threads at work come from, in one line.
    pub(crate) fn in_words(&self, threads: NonZeroUsize) -> String {
        match self.figure(threads) {
            Some(figure) => {
                let Figure { source, basis, .. } = figure;
                let threads = if threads.get() == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
                format!("{}; {:.2} W with {threads} ({}: {source})", self.source, self.busy_of(figure), basis.name())
            }
            None => self.source.clone(),
        }
    }

    fn busy_of(&self, figure: &Figure) -> f32 {
        (figure.value as f32).clamp(self.idle, self.active)
    }

    fn figure(&self, threads: NonZeroUsize) -> Option<&Figure> {
        self.busy.get(threads.get() - 1).or(self.busy.last())
    }
}

impl WattsArgs {
    /// The watts asked for; without a board those of the published one.
    pub(crate) fn published(&self) -> Result<Watts, Failure> {
        self.of(&boards::find(self.board.as_deref().unwrap_or(PUBLISHED))?)
    }

    /// The watts asked for; without a board those of the machine this runs on.
    pub(crate) fn here(&self) -> Result<Watts, Failure> {
        self.of(&self.board_here()?)
    }

    /// The board asked for, or the machine this runs on.
    pub(crate) fn board_here(&self) -> Result<Board, Failure> {
        match &self.board {
            Some(name) => boards::find(name),
            None => Ok(detect(&system::here(), &boards::all()?).cloned().unwrap_or_else(|| {
                let mut board = generic();
                board.name = "this machine".to_owned();
                board
            })),
        }
    }

    /// What a board draws, whether it was named or detected. If a figure is missing the published board stands in.
    pub(crate) fn of(&self, board: &Board) -> Result<Watts, Failure> {
        let published = boards::find(PUBLISHED)?;
        let known_watts = KnownWatts::of(board).or_scaled(&published.name, &KnownWatts::of(&published));
        let known = known_watts.clone();
        // What is given comes before what is known or scaled.
        let given = |watts: Option<f32>, option: &str, known: Option<Figure>| {
            let known = known.map(|figure| (figure.value as f32, figure.source));
            watts.map(|watts| (watts, option.to_owned())).or(known)
        };
        let idle = given(self.idle_watts, "--idle-watts", known.idle);
        let active = given(self.active_watts, "--active-watts", known.active);
        let (Some(idle), Some(active)) = (idle, active) else {
            return wrong(format!("no figure is known for {}: give --idle-watts and --active-watts", board.name));
        };
        check(idle.0, active.0)?;
        let source = format!(
            "{}: {} idle ({}), {} active ({})",
            board.name,
            in_watts(idle.0),
            idle.1,
            in_watts(active.0),
            active.1
        );
        let busy = match self.active_watts {
            Some(_) => Vec::new(),
            None => {
                // Shares of what was given come before shares of what was known.
                let known = match self.idle_watts {
                    Some(watts) => known_watts.with_idle(Figure::new(watts.into(), "--idle-watts")),
                    None => known_watts,
                };
                (1..=known.cores.unwrap_or(1)).map_while(|cores| known.with_busy_cores(cores)).collect()
            }
        };
        let (camera, radio) = (board.loads.camera_watts.clone(), board.loads.radio_watts.clone());
        let (idle, active, known_suspended) = (idle.0, active.0, known.suspended);
        Ok(Watts { idle, active, suspended: None, known_suspended, busy, camera, radio, off: Off::of(board), source })
    }
}

fn check(idle: f32, active: f32) -> Result<(), Failure> {
    if !(idle >= 0.0 && active >= idle && active.is_finite()) {
        return wrong(format!("{active} W active and {idle} W idle: expected active at least idle, idle at least 0"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: WattsArgs = WattsArgs { board: None, idle_watts: None, active_watts: None };

    #[test]
    fn watts_come_from_the_board_and_options_come_first() {
        let board = boards::find(PUBLISHED).unwrap();
        let value = |figure: &Option<Figure>| figure.as_ref().unwrap().value as f32;
        let watts = NONE.published().unwrap();
        assert_eq!((watts.idle, watts.active), (value(&board.power.idle_watts), value(&board.power.active_watts)));
        assert!(watts.source.contains(&board.power.idle_watts.unwrap().source), "{}", watts.source);
        let given = WattsArgs { idle_watts: Some(0.5), ..NONE }.published().unwrap();
        assert_eq!((given.idle, given.active, given.resting()), (0.5, watts.active, 0.5));
        let asleep = given.suspended_by(SuspendArgs { suspend_watts: Some(0.1) }).unwrap();
        assert_eq!(asleep.resting(), 0.1);
        assert!(asleep.source.ends_with(", 0.1 W suspended (--suspend-watts)"), "{}", asleep.source);
    }

    #[test]
    fn one_thread_is_not_charged_for_four_cores() {
        let threads = |count| NonZeroUsize::new(count).unwrap();
        let watts = NONE.published().unwrap();
        let core = (watts.active - watts.idle) / 4.0;
        assert!((watts.busy(threads(1)) - watts.idle - core).abs() < 1e-5);
        assert!((watts.busy(threads(3)) - watts.idle - 3.0 * core).abs() < 1e-5);
        assert_eq!((watts.busy(threads(4)), watts.busy(threads(64))), (watts.active, watts.active));
        assert!(watts.in_words(threads(1)).contains("3.62 W with 1 thread (not measured: 1 of 4 cores' share"));
        // What the network draws was said: nothing is left to share.
        let given = WattsArgs { active_watts: Some(5.0), ..NONE }.published().unwrap();
        assert_eq!(given.busy(threads(1)), 5.0);
    }

    #[test]
    fn camera_and_radio_are_loads_where_they_run_and_are_known() {
        let mut board = boards::find(PUBLISHED).unwrap();
        board.loads.radio_watts = Some(Figure::new(0.2, "a meter"));
        let watts = NONE.of(&board).unwrap();
        let loads = |camera, radio| watts.loads(camera, radio).iter().map(Load::watts).collect::<Vec<_>>();
        let camera = board.loads.camera_watts.as_ref().unwrap().value as f32;
        assert_eq!(loads(true, true), [camera, 0.2]);
        assert_eq!((loads(true, false), loads(false, true), loads(false, false)), (vec![camera], vec![0.2], vec![]));
        let told = watts.loads(true, true).iter().map(Load::in_words).collect::<Vec<_>>().join(" and ");
        assert!(told.contains("of the camera (data sheet") && told.contains("0.2 W of the radio (published"), "{told}");
        board.loads.radio_watts = None;
        assert!(NONE.of(&board).unwrap().loads(false, true).is_empty());
    }

    #[test]
    fn watts_are_told_with_the_digits_that_mean_something() {
        let told = [0.6 * 6.4 / 2.7, 2.7, 3.0, 0.03, 0.0].map(in_watts);
        assert_eq!(told, ["1.42 W", "2.7 W", "3 W", "0.03 W", "0 W"]);
        assert!(!NONE.of(&boards::find("raspberry-pi-zero-2-w").unwrap()).unwrap().source.contains("1.422"));
    }

    #[test]
    fn missing_and_impossible_figures_are_refused() {
        let error = |args: WattsArgs| match args.published() {
            Err(Failure::Input(error)) => error.to_string(),
            other => panic!("{:?}", other.map(|_| ())),
        };
        let named = |name: &str| WattsArgs { board: Some(name.into()), ..NONE };
        assert!(error(named("toaster")).contains("raspberry-pi-4"));
        assert!(error(named("/no/such/board.toml")).contains("/no/such/board.toml"));
        assert!(error(WattsArgs { idle_watts: Some(9.0), ..NONE }).contains("active at least idle"));
        let asleep = NONE.published().unwrap().suspended_by(SuspendArgs { suspend_watts: Some(9.0) });
        assert!(matches!(asleep, Err(Failure::Input(error)) if error.to_string().contains("9 W suspended")));
    }

    /// What a Zero 2 W is known to draw idle is not replaced by what a larger board draws.
    #[test]
    fn a_known_figure_is_kept_where_the_other_is_missing() {
        let named = |name: &str| WattsArgs { board: Some(name.into()), ..NONE };
        let board = boards::find("raspberry-pi-zero-2-w").unwrap();
        let watts = named("raspberry-pi-zero-2-w").published().unwrap();
        assert_eq!(watts.idle, board.power.idle_watts.clone().unwrap().value as f32);
        let published = named(PUBLISHED).published().unwrap();
        assert!(watts.active > watts.idle && watts.active < published.active, "{watts:?}");
        assert!(watts.source.contains("not known, scaled as"), "{}", watts.source);
        // Named or detected: the same.
        assert_eq!(NONE.of(&board).unwrap(), watts);
    }
}
