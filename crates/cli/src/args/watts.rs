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
    /// Set the watts of the suspended board, if it can be suspended between frames
    #[arg(long, value_name = "WATTS", value_parser = not_negative)]
    suspend_watts: Option<f32>,
}

/// Watts, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Watts {
    pub idle: f32,
    pub active: f32,
    pub suspended: Option<f32>,
    /// With one core busy, two, and so on up to all of them; empty where the watts while the network runs were given.
    busy: Vec<Figure>,
    /// What a camera that makes frames adds, where that is known.
    camera: Option<Figure>,
    /// One line for the user.
    pub source: String,
}

impl Watts {
    /// Watts drawn between frames.
    pub(crate) fn resting(&self) -> f32 {
        self.suspended.unwrap_or(self.idle)
    }

    /// The same with a camera that makes frames all the time.
    pub(crate) fn with_camera(mut self) -> Self {
        let Some(camera) = self.camera.take() else { return self };
        let added = camera.value as f32;
        self.idle += added;
        self.active += added;
        self.suspended = self.suspended.map(|watts| watts + added);
        self.busy.iter_mut().for_each(|figure| figure.value += camera.value);
        self.source +=
            &format!("; of all of them {added} W of the camera ({}: {})", camera.basis.name(), camera.source);
        self
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
        if self.board.is_some() {
            return self.published();
        }
        match detect(&system::here(), &boards::all()?) {
            Some(board) => self.of(board),
            None => {
                let mut board = generic();
                board.name = "this machine".to_owned();
                self.of(&board)
            }
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
        let suspended = given(self.suspend_watts, "--suspend-watts", known.suspended);
        check(idle.0, active.0, suspended.as_ref().map(|(watts, _)| *watts))?;
        let asleep =
            suspended.as_ref().map_or(String::new(), |(watts, source)| format!(", {watts} W suspended ({source})"));
        let source =
            format!("{}: {} W idle ({}), {} W active ({}){asleep}", board.name, idle.0, idle.1, active.0, active.1);
        let suspended = suspended.map(|(watts, _)| watts);
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
        Ok(Watts { idle: idle.0, active: active.0, suspended, busy, camera: board.loads.camera_watts.clone(), source })
    }
}

fn check(idle: f32, active: f32, suspended: Option<f32>) -> Result<(), Failure> {
    if !(idle >= 0.0 && active >= idle && active.is_finite()) {
        return wrong(format!("{active} W active and {idle} W idle: expected active at least idle, idle at least 0"));
    }
    match suspended.filter(|watts| !(0.0..=idle).contains(watts)) {
        Some(watts) => wrong(format!("{watts} W suspended and {idle} W idle: expected 0 to the idle watts")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: WattsArgs = WattsArgs { board: None, idle_watts: None, active_watts: None, suspend_watts: None };

    #[test]
    fn watts_come_from_the_board_and_options_come_first() {
        let board = boards::find(PUBLISHED).unwrap();
        let value = |figure: &Option<Figure>| figure.as_ref().unwrap().value as f32;
        let watts = NONE.published().unwrap();
        assert_eq!((watts.idle, watts.active), (value(&board.power.idle_watts), value(&board.power.active_watts)));
        assert!(watts.source.contains(&board.power.idle_watts.unwrap().source), "{}", watts.source);
        let given = WattsArgs { idle_watts: Some(0.5), suspend_watts: Some(0.1), ..NONE }.published().unwrap();
        assert_eq!((given.idle, given.active, given.resting()), (0.5, watts.active, 0.1));
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
    fn a_camera_adds_what_it_draws_to_all_watts() {
        let threads = NonZeroUsize::MIN;
        let (watts, board) = (NONE.published().unwrap(), boards::find(PUBLISHED).unwrap());
        let added = board.loads.camera_watts.unwrap().value as f32;
        let with = watts.clone().with_camera();
        for (with, without) in
            [(with.idle, watts.idle), (with.active, watts.active), (with.busy(threads), watts.busy(threads))]
        {
            assert!((with - without - added).abs() < 1e-5, "{with} {without}");
        }
        assert!(with.source.contains("of the camera (data sheet"), "{}", with.source);
        assert_eq!(with.clone().with_camera(), with, "it is added once");
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
        assert!(error(WattsArgs { suspend_watts: Some(9.0), ..NONE }).contains("suspended"));
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
