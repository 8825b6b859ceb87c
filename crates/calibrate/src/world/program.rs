//! A program that knows the future: a linear program over operating points and rates, solved by its dual.
//!
//! A price per joule decides each tick: the order that gives most right answers less the price of what it costs. One price
//! holds as long as the battery is neither full nor empty; where a plan would leave those bounds it is split there, as the
//! Lagrange multiplier of a stock changes only where the stock is at a bound.

use core::ops::Range;

use super::drawn::Drawn;
use super::pack::Pack;
use super::play::{Order, Played, Stage};
use super::rivals::RESERVE;
use super::situation::Coming;

/// Charge that a plan never goes below before its end.
const EMPTY: f64 = 0.06;

/// What a planner knows of a spell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knows {
    /// Battery, board and weather, but not which frames are easy.
    Weather,
    /// Also that.
    Spells,
}

impl Stage<'_> {
    /// The best plan of a mission that is known beforehand.
    pub(super) fn program(&self, drawn: &Drawn, knows: Knows) -> Played {
        let mut orders = vec![Order { point: 0, period: f64::INFINITY }; drawn.ticks.len()];
        self.plan(drawn, knows, 0..drawn.ticks.len(), (1.0, RESERVE), 12, &mut orders);
        self.play(drawn, |sight, _| orders[sight.tick])
    }

    /// Plans a stretch from one charge to another.
    fn plan(
        &self,
        drawn: &Drawn,
        knows: Knows,
        stretch: Range<usize>,
        (from, to): (f64, f64),
        depth: u32,
        orders: &mut [Order],
    ) {
        // Right answers per joule; the price is high enough to save all that can be saved at first.
        let (mut low, mut high) = (1e-4f64, 1e4f64);
        for _ in 0..24 {
            let price = (low * high).sqrt();
            let (end, _) = self.follow(drawn, knows, stretch.clone(), from, price, orders);
            if end < to { low = price } else { high = price }
        }
        let (_, worst) = self.follow(drawn, knows, stretch.clone(), from, high, orders);
        let Some((tick, bound)) = worst else { return };
        if depth == 0 || tick <= stretch.start + 1 || tick + 1 >= stretch.end {
            return;
        }
        self.plan(drawn, knows, stretch.start..tick, (from, bound), depth - 1, orders);
        self.plan(drawn, knows, tick..stretch.end, (bound, to), depth - 1, orders);
    }

    /// Follows a price; the charge at the end, and where the battery would be furthest beyond a bound.
    fn follow(
        &self,
        drawn: &Drawn,
        knows: Knows,
        stretch: Range<usize>,
        from: f64,
        price: f64,
        orders: &mut [Order],
    ) -> (f64, Option<(usize, f64)>) {
        let mut pack = Pack::full(drawn.pack.clone()).at(from).unbounded();
        let mut worst: Option<(usize, f64, f64)> = None;
        for tick in stretch {
            let now = drawn.ticks[tick];
            let value = |point: usize| {
                let made = match knows {
                    Knows::Weather => self.scene.mean(point),
                    Knows::Spells => self.scene.made(point, now.easy),
                };
                let dear = if now.plugged { 0.0 } else { now.dear };
                let joules = now.passes * made.joules;
                (made.right - price * dear * joules, joules)
            };
            let points = self.scene.rungs.iter().map(|point| (*point, value(*point)));
            let best =
                points.fold((0, (f64::NEG_INFINITY, 0.0)), |best, one| if one.1.0 > best.1.0 { one } else { best });
            let (point, (gain, joules)) = best;
            let period = match self.situation.coming {
                Coming::Free(shortest, longest) => {
                    if gain > 0.0 {
                        shortest
                    } else {
                        longest
                    }
                }
                _ => 1.0,
            };
            orders[tick] = Order { point, period };
            let joules = joules * self.frames(drawn, tick, orders[tick]);
            self.advance(&mut pack, drawn, tick, joules);
            let soc = pack.soc();
            let (beyond, bound) = if soc > 1.0 { (soc - 1.0, 1.0) } else { (EMPTY - soc, EMPTY) };
            if beyond > 0.004 && worst.is_none_or(|(_, _, most)| beyond > most) {
                worst = Some((tick, bound, beyond));
            }
        }
        (pack.soc(), worst.map(|(tick, bound, _)| (tick, bound)))
    }
}
