//! Whether what crosses from one segment of a bundle to another is there when it is read.

use tract_core::internal::*;

use crate::graph::partition::{MAX_LEVEL_GOALS, SegmentGraph};
use crate::graph::parts::goals;
use crate::graph::{Slot, StateSlots};
use crate::model::ModelInfo;

/// Where a bundle says that its image goes and its results are found.
pub(super) struct Found {
    pub input: Slot,
    pub exits: Vec<Slot>,
    pub levels: Vec<Vec<Slot>>,
    pub states: Vec<StateSlots>,
}

/// That every tensor which crosses from one segment to another is there, of one shape, whenever it is needed.
pub(super) fn check(segments: &[SegmentGraph], slots: usize, found: &Found, info: &ModelInfo) -> TractResult<()> {
    let Found { input, exits, levels, states } = found;
    let (input, spec) = (*input, &info.input);
    let goals = goals(info);
    ensure!(goals.levels.len() <= MAX_LEVEL_GOALS, "{} goals of boxes", goals.levels.len());
    // For each slot, its shape and which exits it is there for.
    let mut known: Vec<Option<(TVec<usize>, Vec<usize>)>> = vec![];
    ensure!(slots <= 1 << 16, "{slots} slots");
    known.resize(slots, None);
    let place = |slot: Slot| format!("slot {}", slot.0);
    let all = |need: &dyn Fn(usize) -> bool| (0..goals.len()).filter(|goal| need(*goal)).collect::<Vec<_>>();
    let image = tvec!(spec.batch, spec.channels, spec.height, spec.width);
    *known.get_mut(input.0).with_context(|| place(input))? = Some((image, all(&|_| true)));
    let shapes: Vec<&[usize]> =
        info.video.iter().flat_map(|video| &video.states).map(|state| state.shape.as_slice()).collect();
    ensure!(states.len() == shapes.len(), "{} states, expected {}", states.len(), shapes.len());
    for (state, shape) in states.iter().zip(&shapes) {
        let read = known.get_mut(state.input.0).with_context(|| place(state.input))?;
        ensure!(read.is_none(), "{} takes two inputs", place(state.input));
        *read = Some(((*shape).into(), all(&|_| true)));
    }
    for segment in segments {
        let shape = |outlet: OutletId| -> TractResult<TVec<usize>> {
            Ok(segment.graph.outlet_fact(outlet)?.shape.as_concrete().context("an open shape")?.into())
        };
        ensure!(segment.inputs.len() == segment.graph.inputs.len(), "a segment with other inputs than its graph");
        ensure!(segment.outputs.len() == segment.graph.outputs.len(), "a segment with other outputs than its graph");
        let need = all(&|exit| segment.need.contains(exit));
        ensure!(!need.is_empty(), "a segment that no goal needs");
        for (slot, outlet) in segment.inputs.iter().zip(&segment.graph.inputs) {
            let found = known.get(slot.0).and_then(Option::as_ref);
            let (expected, there) = found.with_context(|| format!("{} is read before it is made", place(*slot)))?;
            ensure!(*expected == shape(*outlet)?, "{} is read in another shape", place(*slot));
            ensure!(need.iter().all(|exit| there.contains(exit)), "{} is not always there", place(*slot));
        }
        for (slot, outlet) in segment.outputs.iter().zip(&segment.graph.outputs) {
            let made = known.get_mut(slot.0).with_context(|| place(*slot))?;
            ensure!(made.is_none(), "{} is made twice", place(*slot));
            *made = Some((shape(*outlet)?, need.clone()));
        }
    }
    ensure!(exits.len() == info.exits.len(), "{} exits, expected {}", exits.len(), info.exits.len());
    for (exit, slot) in exits.iter().enumerate() {
        let found = known.get(slot.0).and_then(Option::as_ref);
        let (shape, there) = found.with_context(|| format!("nothing makes {}", place(*slot)))?;
        ensure!(shape.as_slice() == [spec.batch, info.classes], "{} has shape {shape:?}", info.exits[exit]);
        ensure!(there.contains(&exit), "exit {} is not made for itself", info.exits[exit]);
    }
    ensure!(levels.len() == goals.levels.len(), "{} goals of boxes, expected {}", levels.len(), goals.levels.len());
    for (place_of, (maps, expected)) in levels.iter().zip(&goals.levels).enumerate() {
        ensure!(maps.len() == expected.len(), "{} maps of a goal, expected {}", maps.len(), expected.len());
        for pair in maps.chunks(2) {
            let map = |slot: &Slot, per_anchor: usize| -> TractResult<TVec<usize>> {
                let found = known.get(slot.0).and_then(Option::as_ref);
                let (shape, there) = found.with_context(|| format!("nothing makes {}", place(*slot)))?;
                ensure!(there.contains(&(exits.len() + place_of)), "{} is not made for its goal", place(*slot));
                let anchors = info.boxes.as_ref().map_or(0, |b| b.anchors.ratios.len() * b.anchors.scales.len());
                ensure!(
                    shape.len() == 4 && shape[0] == spec.batch && shape[1] == anchors * per_anchor,
                    "a map of {shape:?}"
                );
                Ok(shape[2..].into())
            };
            let [scores, deltas] = pair else { bail!("scores without deltas") };
            let classes = info.boxes.as_ref().map_or(0, |boxes| boxes.classes);
            ensure!(map(scores, classes)? == map(deltas, 4)?, "maps of one level differ in size");
        }
    }
    for (state, expected) in states.iter().zip(&shapes) {
        let found = known.get(state.next.0).and_then(Option::as_ref);
        let (shape, _) = found.with_context(|| format!("nothing makes {}", place(state.next)))?;
        ensure!(shape.as_slice() == *expected, "{} has shape {shape:?}, expected {expected:?}", place(state.next));
        let made = segments.iter().any(|segment| segment.outputs.contains(&state.next));
        ensure!(made, "no segment makes {}", place(state.next));
    }
    Ok(())
}
