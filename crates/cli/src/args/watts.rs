//! The boards that are known, by name, file or device tree, and what they draw.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::Args;
use dyn_perceiver_host::{Board, Figure, System, Watts as KnownWatts, detect, generic};

use crate::output::failure::{Failure, OrInput as _};

/// The board whose watts stand in where this machine's are not known.
const PUBLISHED: &str = "raspberry-pi-4";

/// Every board whose data is known; the generic one last.
pub(crate) fn all() -> Result<Vec<Board>, Failure> {
    let mut boards = dyn_perceiver_raspberry_pi::boards()?;
    boards.extend(dyn_perceiver_jetson::boards()?);
    boards.push(generic());
    Ok(boards)
}

/// The board of this name, or that a `board.toml` describes.
pub(crate) fn find(name: &str) -> Result<Board, Failure> {
    if name.contains(['/', '.']) {
        let text = std::fs::read_to_string(Path::new(name)).with_context(|| name.to_owned()).or_input()?;
        return Board::parse(name, &text).or_input();
    }
    let boards = all()?;
    let known = boards.iter().map(|board| board.id.as_str()).collect::<Vec<_>>().join(", ");
    let found = boards.iter().find(|board| board.id == name).cloned();
    found.ok_or_else(|| anyhow!("no board {name:?}; known are {known}, or the path of a board.toml")).or_input()
}

/// What a board draws, to model joules with: watts x latency.
#[derive(Args)]
pub(crate) struct WattsArgs {
    /// Board whose published watts are used: its name (`doctor --list`) or the path of a board.toml
    #[arg(long, value_name = "NAME|FILE")]
    board: Option<String>,
    /// Watts of the idle board, in place of the board's figure
    #[arg(long, value_name = "WATTS")]
    idle_watts: Option<f32>,
    /// Watts while the network runs, in place of the board's figure
    #[arg(long, value_name = "WATTS")]
    active_watts: Option<f32>,
    /// Watts of the suspended board, where it can be suspended between frames
    #[arg(long, value_name = "WATTS")]
    suspend_watts: Option<f32>,
}

/// Watts, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Watts {
    pub idle: f32,
    pub active: f32,
    pub suspended: Option<f32>,
    /// One line for the user.
    pub source: String,
}

impl Watts {
    /// Watts drawn between frames.
    pub(crate) fn resting(&self) -> f32 {
        self.suspended.unwrap_or(self.idle)
    }
}

impl WattsArgs {
    /// The watts asked for; without a board those of the published one.
    pub(crate) fn published(&self) -> Result<Watts, Failure> {
        self.of(&find(self.board.as_deref().unwrap_or(PUBLISHED))?)
    }

    /// The watts asked for; without a board those of the machine this runs on, or of the published board where they are
    /// not known.
    pub(crate) fn here(&self) -> Result<Watts, Failure> {
        if self.board.is_some() {
            return self.published();
        }
        let boards = all()?;
        match detect(&System::default(), &boards) {
            Some(board) => self.of(board),
            None => {
                let mut board = generic();
                board.name = "this machine".to_owned();
                self.of(&board)
            }
        }
    }

    /// What a board draws, whether it was named or detected. Where a figure is missing the published board stands in.
    fn of(&self, board: &Board) -> Result<Watts, Failure> {
        let published = find(PUBLISHED)?;
        let known = KnownWatts::of(board).or_scaled(&published.name, &KnownWatts::of(&published));
        let figure = |given: Option<f32>, figure: &Option<Figure>, option: &str| match (given, figure) {
            (Some(watts), _) => Ok((watts, option.to_owned())),
            (None, Some(figure)) => Ok((figure.value as f32, figure.source.clone())),
            (None, None) => Err(anyhow!("no figure is known for {}: give {option}", board.name)).or_input(),
        };
        let (idle, idle_source) = figure(self.idle_watts, &known.idle, "--idle-watts")?;
        let (active, active_source) = figure(self.active_watts, &known.active, "--active-watts")?;
        let asleep = known.suspended.as_ref().map(|figure| (figure.value as f32, figure.source.clone()));
        let suspended = self.suspend_watts.map(|watts| (watts, "--suspend-watts".to_owned())).or(asleep);
        if !(idle >= 0.0 && active >= idle && active.is_finite()) {
            return Err(anyhow!("{active} W active and {idle} W idle: expected active at least idle, idle at least 0"))
                .or_input();
        }
        if let Some((watts, _)) = suspended.as_ref().filter(|(watts, _)| !(0.0..=idle).contains(watts)) {
            return Err(anyhow!("{watts} W suspended and {idle} W idle: expected 0 to the idle watts")).or_input();
        }
        let asleep =
            suspended.as_ref().map_or(String::new(), |(watts, source)| format!(", {watts} W suspended ({source})"));
        let source =
            format!("{}: {idle} W idle ({idle_source}), {active} W active ({active_source}){asleep}", board.name);
        Ok(Watts { idle, active, suspended: suspended.map(|(watts, _)| watts), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: WattsArgs = WattsArgs { board: None, idle_watts: None, active_watts: None, suspend_watts: None };

    #[test]
    fn watts_come_from_the_board_and_options_come_first() {
        let board = find(PUBLISHED).unwrap();
        let value = |figure: &Option<Figure>| figure.as_ref().unwrap().value as f32;
        let watts = NONE.published().unwrap();
        assert_eq!((watts.idle, watts.active), (value(&board.power.idle_watts), value(&board.power.active_watts)));
        assert!(watts.source.contains(&board.power.idle_watts.unwrap().source), "{}", watts.source);
        let given = WattsArgs { idle_watts: Some(0.5), suspend_watts: Some(0.1), ..NONE }.published().unwrap();
        assert_eq!((given.idle, given.active, given.resting()), (0.5, watts.active, 0.1));
    }

    #[test]
    fn a_board_named_and_the_same_board_detected_draw_the_same() {
        let board = find("raspberry-pi-zero-2-w").unwrap();
        let named = WattsArgs { board: Some(board.id.clone()), ..NONE }.published().unwrap();
        let own = board.power.idle_watts.as_ref().unwrap().value as f32;
        assert_eq!(named, NONE.of(&board).unwrap());
        assert_eq!(named.idle, own);
        assert!(named.active > own && named.active < 3.0 * own, "{named:?}");
        assert!(named.source.contains("not known, scaled as"), "{}", named.source);
        // What is given comes before what is scaled.
        let given = WattsArgs { active_watts: Some(2.0), ..NONE }.of(&board).unwrap();
        assert_eq!((given.idle, given.active), (own, 2.0));
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
}
