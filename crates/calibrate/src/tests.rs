//! The solver as a whole: against known optima, other methods, and input that is barely any.

use proptest::prelude::*;

use crate::certify::*;
use crate::evaluate::*;
use crate::random::{Random, split};
use crate::records::*;
use crate::solver::*;
use dyn_perceiver_core::exit::{CostUnit, Ensemble, ExitPolicy, ExitRule, Frontier, Measure, ModelDigest};

/// Records whose exits read `confidence(sample, exit)` and are right where `right(sample, exit)`.
fn records(
    samples: usize,
    exits: usize,
    confidence: impl Fn(usize, usize) -> f32,
    right: impl Fn(usize, usize) -> bool,
) -> Records {
    let cumulative: Vec<f64> = (1..=exits).map(|exit| exit as f64).collect();
    let costs = Costs::cumulative(CostUnit::Macs, &cumulative).unwrap();
    let names = (0..exits).map(|exit| format!("e{exit}")).collect();
    let mut records = Records::new(ModelDigest([1; 32]), names, 3, costs);
    for sample in 0..samples {
        let readings: Vec<ExitReading> = (0..exits)
            .map(|exit| ExitReading::new(u32::from(!right(sample, exit)), [confidence(sample, exit); 3]))
            .collect();
        records.append(sample.to_string(), 0, &readings);
    }
    records
}

fn solved(records: &Records) -> Frontier {
    solve(records, &records.rows(), &SolveOptions::default()).unwrap().frontier
}

fn own() -> SolveOptions {
    SolveOptions::default().with_ensembles([EnsembleKind::Own])
}

fn judged(frontier: &Frontier, records: &Records) -> Vec<CostAccuracy> {
    let of = |policy: &ExitPolicy| {
        PolicySummary::of(policy, records.costs(), &replay(policy, records, &records.rows()).unwrap())
    };
    frontier.points().iter().map(|point| of(&point.policy)).map(|s| CostAccuracy::new(s.cost, s.accuracy)).collect()
}

#[test]
fn comes_within_a_fifth_of_a_point_of_the_known_optimum() {
    let network = Synthetic::four_exits();
    let calibration = network.records(20_000, 3).unwrap();
    let solved = solve(&calibration, &calibration.rows(), &own()).unwrap();
    assert!(solved.frontier.points().len() >= 32, "{}", solved.frontier.points().len());
    let fresh = network.records(100_000, 4).unwrap();
    // What luck the fresh samples have is told by the optimum's own policies on them.
    for price in [0.03, 0.02, 0.012, 0.008, 0.005] {
        let best = network.optimum(price);
        let exits = best.thresholds.len();
        let thresholds: Vec<ExitRule> = (0..4)
            .map(|exit| if exit < exits { ExitRule::Leave(best.thresholds[exit] as f32) } else { ExitRule::Skip })
            .collect();
        let policy = ExitPolicy::new(Measure::Margin, &thresholds).unwrap();
        let optimum = PolicySummary::of(&policy, fresh.costs(), &replay(&policy, &fresh, &fresh.rows()).unwrap());
        let ours = mixed_accuracy(&judged(&solved.frontier, &fresh), optimum.cost).unwrap();
        assert!(ours > optimum.accuracy - 0.002, "at {}: {ours}, optimum {}", optimum.cost, optimum.accuracy);
    }
}

#[test]
fn comes_close_to_the_exhaustive_search_where_that_can_be_done() {
    for seed in 0..5 {
        let records = Synthetic::four_exits().records(600, seed).unwrap();
        let rows = records.rows();
        let options = own().with_measures([Measure::MaxSoftmax]);
        let frontier = solve(&records, &rows, &options).unwrap().frontier;
        let ours = judged(&frontier, &records);
        // Coordinate ascent may stop short of the best of all policies on so few samples, but not by much, nor as a rule.
        let short: Vec<f64> = exhaustive(&records, &rows, Measure::MaxSoftmax, 20)
            .unwrap()
            .iter()
            .map(|found| found.accuracy - mixed_accuracy(&ours, found.cost).unwrap_or(0.0))
            .collect();
        assert!(short.iter().all(|&short| short < 0.01), "seed {seed}: {short:?}");
        assert!(short.iter().sum::<f64>() / (short.len() as f64) < 0.002, "seed {seed}: {short:?}");
    }
}

#[test]
fn is_above_the_authors_sweep() {
    let network = Synthetic::four_exits();
    let calibration = network.records(5_000, 7).unwrap();
    let fresh = network.records(50_000, 8).unwrap();
    let frontier = solved(&calibration);
    let sweep = quantile_sweep(&calibration, &calibration.rows()).unwrap();
    let curves = ParetoCurves::judge(&frontier, &sweep, &[], &fresh, &fresh.rows(), 8).unwrap();
    let difference = curves.against_sweep().unwrap();
    assert!(difference.mean > 0.0 && difference.least > -0.002, "{difference:?}");
}

#[test]
fn as_many_exits_as_there_may_be_are_calibrated() {
    let exits = dyn_perceiver_core::exit::MAX_EXITS;
    let cumulative: Vec<f64> = (0..exits).map(|exit| 10.0 + 4.0 * exit as f64).collect();
    let floors: Vec<f64> = (0..exits).map(|exit| 0.3 + 0.04 * exit as f64).collect();
    let records = Synthetic::new(cumulative, floors).records(300, 5).unwrap();
    let frontier = solve(&records, &records.rows(), &own().with_measures([Measure::MaxSoftmax])).unwrap().frontier;
    assert!(frontier.points().len() > 1);
    assert!(frontier.points().iter().all(|point| point.policy.rules().len() == exits));
}

#[test]
fn one_exit_gives_one_point() {
    let frontier = solved(&records(50, 1, |s, _| s as f32 / 50.0, |s, _| s % 2 == 0));
    assert_eq!(frontier.points().len(), 1);
    assert_eq!((frontier.points()[0].accuracy, frontier.points()[0].cost), (0.5, 1.0));
}

#[test]
fn an_exit_that_is_always_wrong_is_left_out() {
    let records =
        records(400, 3, |s, e| ((s * 7 + e * 3) % 400) as f32 / 400.0, |s, e| e != 1 && (e == 2 || s % 3 == 0));
    let frontier = solved(&records);
    for point in frontier.points() {
        assert_eq!(point.shares[1], 0.0, "{point:?}");
    }
    assert!(frontier.points().last().unwrap().accuracy > 0.98);
}

#[test]
fn constant_confidence_leaves_only_whole_exits() {
    let records = records(100, 3, |_, _| 0.5, |s, e| s % 4 < e + 1);
    let points = judged(&solved(&records), &records);
    let expected = [(1.0, 0.25), (2.0, 0.5), (3.0, 0.75)].map(|(cost, accuracy)| CostAccuracy::new(cost, accuracy));
    // The middle one lies on the line between the others: there or not, a mix has it.
    assert!(points.iter().all(|p| expected.contains(p)), "{points:?}");
    assert_eq!((points[0], points[points.len() - 1]), (expected[0], expected[2]));
}

#[test]
fn ties_leave_together() {
    let records = records(200, 2, |s, _| if s % 2 == 0 { 0.9 } else { 0.3 }, |s, e| e == 1 || s % 2 == 0);
    let points = judged(&solved(&records), &records);
    assert!(points.contains(&CostAccuracy::new(1.5, 1.0)), "{points:?}");
}

#[test]
fn ten_samples_and_a_class_never_seen_are_enough() {
    let records = Synthetic::four_exits().records(10, 1).unwrap();
    assert!(!solved(&records).points().is_empty());
    assert!(matches!(solve(&records, &[], &SolveOptions::default()), Err(SolveError::NoSamples)));
    let none = SolveOptions::default().with_measures([]);
    assert!(matches!(solve(&records, &records.rows(), &none), Err(SolveError::NothingToChoose)));
}

/// Three exits with noise of their own on top of the truth: a mean of them knows more than any.
fn noisy_exits(samples: usize, seed: u64) -> Records {
    noisy(samples, seed, [2.5; 3])
}

/// The same, with the truth so many times above noise at each exit.
fn noisy(samples: usize, seed: u64, truth: [f32; 3]) -> Records {
    let costs = Costs::cumulative(CostUnit::Macs, &[1.0, 2.0, 3.0]).unwrap();
    let mut records = Records::new(ModelDigest([2; 32]), vec!["a".into(), "b".into(), "c".into()], 4, costs);
    let mut random = Random::new(seed);
    for sample in 0..samples {
        let label = random.below(4);
        let logits: Vec<Vec<f32>> = truth
            .iter()
            .map(|truth| {
                let noise = |random: &mut Random| (0..4).map(|_| random.uniform()).sum::<f64>() as f32 - 2.0;
                (0..4).map(|class| 3.0 * noise(&mut random) + if class == label { *truth } else { 0.0 }).collect()
            })
            .collect();
        let reading = |logits: &Vec<f32>| ExitReading::from_logits(logits).unwrap();
        records.append(sample.to_string(), label as u32, &logits.iter().map(reading).collect::<Vec<_>>());
        records.push_logits(&logits.concat());
    }
    records
}

#[test]
fn ensemble_is_chosen_where_that_helps() {
    let (calibration, fresh) = (noisy_exits(4_000, 1), noisy_exits(20_000, 2));
    let all = solve(&calibration, &calibration.rows(), &SolveOptions::default()).unwrap();
    assert_eq!(all.compared[all.chosen].ensemble, EnsembleKind::Mean, "{:?}", all.compared);
    let best = |frontier: &Frontier| judged(frontier, &fresh).iter().map(|p| p.accuracy).fold(0.0, f64::max);
    let alone = solve(&calibration, &calibration.rows(), &own()).unwrap();
    assert!(best(&all.frontier) > best(&alone.frontier) + 0.05);
    // Independent noise: half of the second exit, two thirds of what was before at the third.
    let Some(Ensemble::Mean(weights)) = all.frontier.points().last().map(|p| p.policy.ensemble()) else { panic!() };
    assert!((weights[1] - 0.5).abs() <= 0.05 && (weights[2] - 0.67).abs() <= 0.07, "{weights:?}");
    // What was recorded is what the runtime does: costs found are costs realised.
    for (point, CostAccuracy { cost, .. }) in all.frontier.points().iter().zip(judged(&all.frontier, &calibration)) {
        assert!((f64::from(point.cost) - cost).abs() < 1e-6);
    }
}

/// Calibration errors of a frontier's points on records: of the confidence, and of the probability.
fn calibration_errors(solved: &Solved, fresh: &Records) -> (f64, f64) {
    let (mut raw, mut calibrated) = (0.0, 0.0);
    for point in solved.frontier.points() {
        let outcomes = replay(&point.policy, fresh, &fresh.rows()).unwrap();
        raw += calibration_error(outcomes.iter().map(|sample| (sample.confidence, sample.right)));
        let probability = |sample: &SampleOutcome| {
            let exit = usize::from(sample.exit);
            solved.calibration.probability(&point.policy, exit, sample.confidence).expect("the policies are its own")
        };
        calibrated += calibration_error(outcomes.iter().map(|sample| (probability(sample), sample.right)));
    }
    let points = solved.frontier.points().len() as f64;
    (raw / points, calibrated / points)
}

#[test]
fn probabilities_are_those_with_which_fresh_answers_are_right() {
    let network = Synthetic::four_exits();
    let cases = [
        (network.records(5_000, 3).unwrap(), network.records(20_000, 4).unwrap()),
        (noisy_exits(5_000, 5), noisy_exits(20_000, 6)),
    ];
    for (calibration, fresh) in cases {
        for (measure, kinds) in [(Measure::Margin, &EnsembleKind::ALL[..]), (Measure::MaxSoftmax, &[EnsembleKind::Own])]
        {
            for kind in kinds {
                let options = SolveOptions::default().with_measures([measure]).with_ensembles([*kind]);
                // Where no logits were recorded, there is no mean.
                let Ok(solved) = solve(&calibration, &calibration.rows(), &options) else { continue };
                let (raw, calibrated) = calibration_errors(&solved, &fresh);
                assert!(calibrated < 0.035, "{measure} {}: {raw} {calibrated}", kind.name());
                // The confidence of recall is such a probability, but for what earlier exits let pass.
                let most = if *kind == EnsembleKind::Recall { 1.0 } else { 0.5 };
                assert!(calibrated < most * raw, "{measure} {}: {raw} {calibrated}", kind.name());
            }
        }
    }
}

#[test]
fn recall_is_used_when_a_later_exit_is_worse() {
    // The second exit is right about others than the first, and knows when it is.
    let knows = |s: usize, e: usize| (s % 3 == e) || s % 3 == 2;
    let records = records(3_000, 2, |s, e| if knows(s, e) { 0.95 } else { 0.2 + (s % 10) as f32 / 100.0 }, knows);
    let options = SolveOptions::default().with_measures([Measure::MaxSoftmax]);
    let frontier = solve(&records, &records.rows(), &options).unwrap().frontier;
    assert!(frontier.points().last().unwrap().accuracy > 0.99);
}

#[test]
fn held_out_accuracy_is_near_what_was_expected() {
    let network = Synthetic::four_exits();
    let calibration = network.records(2_000, 21).unwrap();
    let fresh = network.records(50_000, 22).unwrap();
    let frontier = solved(&calibration);
    for (point, CostAccuracy { cost, accuracy }) in frontier.points().iter().zip(judged(&frontier, &fresh)) {
        assert!((f64::from(point.accuracy) - accuracy).abs() < 0.03, "{} {accuracy}", point.accuracy);
        assert!((f64::from(point.cost) / cost - 1.0).abs() < 0.05, "{} {cost}", point.cost);
    }
}

#[test]
fn certified_policies_keep_the_limit_as_often_as_promised() {
    let pool = Synthetic::four_exits().records(6_000, 31).unwrap();
    let exact = Limit::new(0.02, 0.9).unwrap();
    let mut costs = vec![];
    for limit in [exact, exact.by(LossTest::Paired)] {
        costs.push(certified_costs(&pool, limit));
    }
    assert!(costs[1] < costs[0], "paired {} not below {}", costs[1], costs[0]);
}

/// The mean cost of the cheapest policies certified over splits of a pool; violations are counted on what is left over.
fn certified_costs(pool: &Records, limit: Limit) -> f64 {
    let mut cost = 0.0;
    let options = own().with_measures([Measure::Margin]);
    let whole = ExitPolicy::only(3, 4).unwrap();
    let (splits, mut violations, mut cheaper) = (30, 0, 0);
    for seed in 0..splits {
        let (part, rest) = split(&pool.rows(), 0.5, seed);
        let certified = certify(pool, &part, limit, &options).unwrap();
        let cheapest = &certified.frontier.points()[0];
        let accuracy = |policy| PolicySummary::of(policy, pool.costs(), &replay(policy, pool, &rest).unwrap()).accuracy;
        cost += f64::from(cheapest.cost) / splits as f64;
        violations += u32::from(accuracy(&whole) - accuracy(&cheapest.policy) > limit.max_loss());
        cheaper += u32::from(f64::from(cheapest.cost) < pool.costs().full());
    }
    assert!(f64::from(violations) <= 0.1 * splits as f64, "{violations}");
    assert!(cheaper > 0);
    cost
}

#[test]
fn evidence_chosen_by_what_it_certifies_keeps_the_limit_as_often_as_promised() {
    let pool = noisy(2_400, 41, [2.0, 3.0, 4.0]);
    let limit = Limit::new(0.03, 0.9).unwrap().by(LossTest::Paired);
    let measures = [Measure::MaxSoftmax, Measure::Margin];
    let options = SolveOptions { folds: 2, ..SolveOptions::default().with_measures(measures) };
    let own = SolveOptions { folds: 2, ..own().with_measures([Measure::MaxSoftmax]) };
    let whole = ExitPolicy::only(2, 3).unwrap();
    let (splits, mut violations, mut chosen, mut alone) = (30, 0, 0.0, 0.0);
    for seed in 0..splits {
        let (part, rest) = split(&pool.rows(), 0.5, seed);
        let certified = certify(&pool, &part, limit, &options.clone().with_seed(seed)).unwrap();
        assert_eq!(certified.evidence.len(), 6, "two measures, three ensembles");
        let cheapest = &certified.frontier.points()[0];
        let accuracy =
            |policy| PolicySummary::of(policy, pool.costs(), &replay(policy, &pool, &rest).unwrap()).accuracy;
        violations += u32::from(accuracy(&whole) - accuracy(&cheapest.policy) > limit.max_loss());
        chosen += f64::from(cheapest.cost);
        alone +=
            f64::from(certify(&pool, &part, limit, &own.clone().with_seed(seed)).unwrap().frontier.points()[0].cost);
    }
    assert!(f64::from(violations) <= 0.1 * splits as f64, "{violations}");
    assert!(chosen < alone, "evidence chosen {chosen} costs not less than each exit on its own {alone}");
}

#[test]
fn paired_test_certifies_what_loses_just_too_much_no_more_often_than_promised() {
    // Pairs of which 7 % are lost and 5 % gained: a net loss of just the limit.
    let limit = Limit::new(0.02, 0.9).unwrap().by(LossTest::Paired);
    let mut rng = fastrand::Rng::with_seed(5);
    let (runs, samples) = (2000, 1500);
    let wrongly = (0..runs).filter(|_| {
        let (mut lost, mut gained) = (0, 0);
        for _ in 0..samples {
            let draw = rng.f64();
            lost += usize::from(draw < 0.07);
            gained += usize::from((0.07..0.12).contains(&draw));
        }
        limit.certifies_pairs(lost, gained, samples)
    });
    let share = wrongly.count() as f64 / f64::from(runs);
    assert!(share <= 0.1, "certified in {share} of the runs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the records, the frontier is monotone (its constructor sees to it) and its thresholds lie in [0, 1].
    #[test]
    fn any_records_give_a_frontier(
        samples in proptest::collection::vec(proptest::collection::vec((0u8..=20, any::<bool>()), 3), 1..80),
        scale in 1e-3f64..1e9,
    ) {
        let records = records(
            samples.len(),
            3,
            |s, e| f32::from(samples[s][e].0) / 20.0,
            |s, e| samples[s][e].1,
        );
        let costs = Costs::cumulative(CostUnit::Joules, &[scale, 2.0 * scale, 2.0 * scale]).unwrap();
        let records = records.with_costs(costs).unwrap();
        let solved = solve(&records, &records.rows(), &SolveOptions::default()).unwrap();
        for point in solved.frontier.points() {
            for rule in point.policy.rules() {
                prop_assert!(matches!(rule, ExitRule::Skip) || matches!(rule, ExitRule::Leave(t) if (0.0..=1.0).contains(t)));
            }
        }
        let names = ["a", "b", "c"];
        let policy = dyn_perceiver_core::exit::CalibratedPolicy::new(records.model(), names, 1, None, solved.frontier).unwrap();
        let json = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(&serde_json::from_str::<dyn_perceiver_core::exit::CalibratedPolicy>(&json).unwrap(), &policy);
        let mut buffer = vec![0; dyn_perceiver_core::exit::MAX_POLICY_BYTES];
        let bytes = policy.to_slice(&mut buffer).unwrap();
        prop_assert_eq!(&dyn_perceiver_core::exit::CalibratedPolicy::from_slice(bytes).unwrap(), &policy);
    }
}
