use proptest::prelude::*;
use serde_json::Value;
use std::boxed::Box;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::*;

/// The reference: decoding and suppression by another implementation, on maps by formula.
fn reference() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/detection_decoding.json")).unwrap()
}

/// Numbers in [0, 1) that go with a key: the top 24 bits of splitmix64, its state offset by the key's FNV-1a hash.
fn uniform(key: &str, count: usize) -> Vec<f32> {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let offset = key.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
    let number = |i: u64| {
        let mut z = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(offset);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count as u64).map(number).collect()
}

const LEVELS: [(&str, u32); 5] = [("P3", 8), ("P4", 16), ("P5", 32), ("P6", 64), ("P7", 128)];

struct Maps {
    stride: u32,
    shape: [usize; 2],
    scores: Vec<f32>,
    deltas: Vec<f32>,
}

/// The maps of the reference's picture.
fn maps(reference: &Value) -> Vec<Maps> {
    let side = |value: &Value| value.as_u64().unwrap() as usize;
    let of = |(name, stride): (&str, u32)| {
        let shape = &reference["shapes"][name]["cls"];
        let (height, width) = (side(&shape[2]), side(&shape[3]));
        let scores = uniform(&format!("head.gb.cls.{name}"), 27 * height * width);
        let deltas = uniform(&format!("head.gb.reg.{name}"), 36 * height * width);
        Maps {
            stride,
            shape: [height, width],
            scores: scores.into_iter().map(|u| 100.0 * u - 101.0).collect(),
            deltas: deltas.into_iter().map(|u| u - 0.5).collect(),
        }
    };
    LEVELS.into_iter().map(of).collect()
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

fn area(value: &Value) -> BoundingBox {
    let [x1, y1, x2, y2] = core::array::from_fn(|i| number(&value[i]));
    BoundingBox::new(x1, y1, x2, y2)
}

fn near(a: BoundingBox, b: BoundingBox) -> bool {
    a.corners().iter().zip(b.corners()).all(|(a, b)| (a - b).abs() < 0.01)
}

#[test]
fn boxes_of_the_reference_come_out_one_by_one_in_their_order() {
    let reference = reference();
    let maps = maps(&reference);
    let mut candidates = Box::new(Candidates::<5000>::new());
    let (anchors, code) = (Anchors::retina(), BoxCode::retina());
    let cases = reference["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for order in [MapOrder::ChannelsFirst, MapOrder::ChannelsLast] {
        for case in cases {
            candidates.clear();
            let limits = Limits::new(number(&case["score_thr"]), case["nms_pre"].as_u64().unwrap() as usize);
            let mut taken = vec![];
            for (level, maps) in maps.iter().enumerate() {
                let (scores, deltas) = match order {
                    MapOrder::ChannelsFirst => (maps.scores.clone(), maps.deltas.clone()),
                    MapOrder::ChannelsLast => {
                        (channels_last(&maps.scores, maps.shape), channels_last(&maps.deltas, maps.shape))
                    }
                };
                let maps = LevelMaps::new(maps.stride, maps.shape, 3, &scores, &deltas).unwrap().with_order(order);
                taken.push(candidates.add_level(level as u8, &maps, &anchors, &code, [160.0, 128.0], &limits));
            }
            let per_level: Vec<usize> = serde_json::from_value(case["per_level"].clone()).unwrap();
            assert_eq!(taken, per_level);
            assert!(!candidates.was_full());
            let found = candidates.suppress(number(&case["nms_iou"]), case["max"].as_u64().unwrap() as usize);
            let expected = case["boxes"].as_array().unwrap();
            assert_eq!((found.len(), found.len() as u64), (expected.len(), case["kept"].as_u64().unwrap()));
            for (found, expected) in found.iter().zip(expected) {
                assert!(near(found.area, area(&expected["box"])), "{found:?} for {expected}");
                assert!((found.score - number(&expected["score"])).abs() < 1e-5, "{found:?} for {expected}");
                let level = LEVELS[usize::from(found.level)].0;
                let (label, anchor) = (u64::from(found.label), u64::from(found.anchor));
                let given = (level, label, anchor);
                let text = |value: &Value| String::from(value.as_str().unwrap());
                assert_eq!(given.0, text(&expected["level"]));
                assert_eq!(
                    (given.1, given.2),
                    (expected["label"].as_u64().unwrap(), expected["anchor"].as_u64().unwrap())
                );
            }
        }
    }
}

fn channels_last(map: &[f32], shape: [usize; 2]) -> Vec<f32> {
    let places = shape[0] * shape[1];
    let channels = map.len() / places;
    (0..map.len()).map(|i| map[i % channels * places + i / channels]).collect()
}

#[test]
fn base_anchors_and_single_decodes_are_those_of_the_reference() {
    let reference = reference();
    let anchors = Anchors::retina();
    for (name, stride) in LEVELS {
        for (i, expected) in reference["base_anchors"][name].as_array().unwrap().iter().enumerate() {
            let anchor = anchors.at(i, stride as f32, 0, 0).unwrap();
            assert!(near(anchor, area(expected)), "{name} {i}: {anchor:?} for {expected}");
        }
    }
    let cases = reference["decode"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let deltas = core::array::from_fn(|i| number(&case["delta"][i]));
        let decoded = BoxCode::retina().decode(area(&case["anchor"]), deltas, [160.0, 128.0]);
        let expected = area(&case["box"]);
        // The reference keeps what has no width or height until suppression.
        assert_eq!(decoded.is_some(), expected.is_box());
        assert!(decoded.is_none_or(|decoded| near(decoded, expected)), "{decoded:?} for {case}");
    }
}

fn of_boxes(boxes: &[BoundingBox], scores: &[f32], labels: &[u16]) -> Candidates<64> {
    let mut candidates = Candidates::new();
    for (i, ((&area, &score), &label)) in boxes.iter().zip(scores).zip(labels).enumerate() {
        candidates.push(Found { anchor: i as u32, ..Found::new(area, score, label) });
    }
    candidates
}

#[test]
fn suppression_keeps_what_the_reference_keeps() {
    let reference = reference();
    let cases = reference["suppression"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let boxes: Vec<BoundingBox> = case["boxes"].as_array().unwrap().iter().map(area).collect();
        let scores: Vec<f32> = serde_json::from_value(case["scores"].clone()).unwrap();
        let labels: Vec<u16> = serde_json::from_value(case["labels"].clone()).unwrap();
        let mut candidates = of_boxes(&boxes, &scores, &labels);
        let kept: Vec<u32> = candidates.suppress(0.5, 100).iter().map(|found| found.anchor).collect();
        let expected: Vec<u32> = serde_json::from_value(case["kept"].clone()).unwrap();
        assert_eq!(kept, expected, "{}", case["name"]);
    }
}

#[test]
fn a_list_without_room_keeps_the_best_of_a_level_and_says_so() {
    let reference = reference();
    let maps = &maps(&reference)[0];
    let (anchors, code) = (Anchors::retina(), BoxCode::retina());
    let level = LevelMaps::new(8, maps.shape, 3, &maps.scores, &maps.deltas).unwrap();
    let mut small = Candidates::<10>::new();
    small.add_level(0, &level, &anchors, &code, [160.0, 128.0], &Limits::retina());
    assert!(small.was_full());
    let mut exact = Candidates::<1000>::new();
    exact.add_level(0, &level, &anchors, &code, [160.0, 128.0], &Limits::new(0.05, 10));
    assert!(!exact.was_full());
    assert_eq!(small.suppress(0.5, 100), exact.suppress(0.5, 100));
    small.clear();
    assert!(small.found().is_empty() && !small.was_full());
    let none = Candidates::<0>::new().add_level(0, &level, &anchors, &code, [160.0, 128.0], &Limits::retina());
    assert_eq!(none, 0);
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let maps = |scores: usize, deltas: usize, shape, classes| {
        LevelMaps::new(8, shape, classes, &vec![0.0; scores], &vec![0.0; deltas]).map(|maps| maps.anchors)
    };
    assert_eq!(maps(27 * 6, 36 * 6, [2, 3], 3), Ok(9));
    for (scores, deltas, shape, classes) in [
        (27 * 6, 36 * 6, [2, 2], 3),
        (27, 36, [1, 1], 0),
        (0, 0, [0, 4], 3),
        (27, 32, [1, 1], 3),
        (0, 0, [usize::MAX, 2], 3),
    ] {
        assert!(maps(scores, deltas, shape, classes).is_err(), "{scores} {deltas} {shape:?} {classes}");
    }
    let other = Anchors::new(&[1.0], &[4.0]).unwrap();
    let (scores, deltas) = (vec![5.0; 27], vec![0.0; 36]);
    let maps = LevelMaps::new(8, [1, 1], 3, &scores, &deltas).unwrap();
    let mut candidates = Candidates::<64>::new();
    assert_eq!(candidates.add_level(0, &maps, &other, &BoxCode::retina(), [8.0; 2], &Limits::retina()), 0);
}

/// Maps of nothing but bits, which are numbers, NaN and infinities alike. Set `RANDOM_MAPS` to run more of them.
#[test]
fn no_map_makes_decoding_panic() {
    let rounds = std::env::var("RANDOM_MAPS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20_000u32);
    let mut state = 1u64;
    let mut bits = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    let mut candidates = Candidates::<48>::new();
    let (anchors, code) = (Anchors::retina(), BoxCode::retina());
    for round in 0..rounds {
        candidates.clear();
        for level in 0..2u8 {
            let shape = [1 + bits() as usize % 2, 1 + bits() as usize % 2];
            let mut value = || match bits() % 8 {
                0 => f32::from_bits(bits()),
                1 => f32::NAN,
                2 => f32::INFINITY,
                3 => f32::NEG_INFINITY,
                _ => (bits() % 2000) as f32 / 100.0 - 10.0,
            };
            let places = shape[0] * shape[1];
            let scores: Vec<f32> = (0..18 * places).map(|_| value()).collect();
            let deltas: Vec<f32> = (0..36 * places).map(|_| value()).collect();
            let maps = LevelMaps::new(8 << level, shape, 2, &scores, &deltas).unwrap();
            let limits = Limits::new(value(), bits() as usize % 64);
            candidates.add_level(level, &maps, &anchors, &code, [32.0, 24.0], &limits);
        }
        for found in candidates.suppress(f32::from_bits(bits()), round as usize % 50) {
            assert!(found.area.is_box() && found.area.x2 <= 32.0 && found.area.y2 <= 24.0, "{found:?}");
            assert!((0.0..=1.0).contains(&found.score), "{found:?}");
        }
    }
}

proptest! {
    #[test]
    fn suppression_is_idempotent_and_does_not_care_about_order(
        boxes in prop::collection::vec((0f32..20.0, 0f32..20.0, 1f32..12.0, 1f32..12.0, 0u16..3), 0..40),
        overlap in 0.1f32..0.9,
    ) {
        let areas: Vec<BoundingBox> = boxes.iter().map(|b| BoundingBox::new(b.0, b.1, b.0 + b.2, b.1 + b.3)).collect();
        let labels: Vec<u16> = boxes.iter().map(|b| b.4).collect();
        // No two scores are equal: of equal ones the first wins.
        let scores: Vec<f32> = (0..boxes.len()).map(|i| ((i * 7919) % 997) as f32 / 997.0).collect();
        let mut candidates = of_boxes(&areas, &scores, &labels);
        let once = candidates.suppress(overlap, 100).to_vec();
        prop_assert_eq!(&candidates.suppress(overlap, 100).to_vec(), &once);
        for (i, a) in once.iter().enumerate() {
            prop_assert!(once[..i].iter().all(|b| a.label != b.label || a.area.iou(b.area) <= overlap));
            prop_assert!(once[..i].iter().all(|b| b.score >= a.score));
        }
        let mut backwards = Candidates::<64>::new();
        for i in (0..areas.len()).rev() {
            backwards.push(Found { anchor: i as u32, ..Found::new(areas[i], scores[i], labels[i]) });
        }
        prop_assert_eq!(backwards.suppress(overlap, 100), &once[..]);
    }
}
