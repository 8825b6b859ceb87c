use proptest::prelude::*;

use super::*;

fn node(segment: usize, reads: &[usize], macs: usize) -> Node {
    Node { segment, id: 0, reads: reads.to_vec(), macs, reads_inputs: reads.is_empty(), is_kernel: true }
}

/// A chain of large steps, numbers 0 to 9, beside a branch of ten small ones that begins with step 0's result, 10 to 19, and step 20,
/// which reads both.
fn two_branches() -> Vec<Node> {
    let chain = (0..10).map(|i: usize| node(0, &i.checked_sub(1).into_iter().collect::<Vec<_>>(), 5_000_000));
    let branch = (10..20).map(|i| node(0, &[if i == 10 { 0 } else { i - 1 }], 100_000));
    chain.chain(branch).chain([node(0, &[9, 19], 5_000_000)]).collect()
}

#[test]
fn a_branch_of_small_steps_runs_beside_the_main_chain() {
    let turns = schedule(&two_branches()).unwrap();
    // What reads the main chain's memory runs before, in the branch's own.
    assert_eq!(turns[10], Turn { at: 1, memory: Memory::Branch, fork: None });
    assert!(turns[11..20].iter().all(|turn| turn.fork == Some(0) && turn.memory == Memory::Branch));
    assert!(turns[1..10].iter().all(|turn| turn.fork == Some(0) && turn.memory == Memory::Main));
    assert_eq!(turns[20], Turn { at: 20, memory: Memory::Main, fork: None });
}

#[test]
fn few_or_tiny_steps_are_no_branch() {
    let mut tiny = two_branches();
    tiny[10..20].iter_mut().for_each(|node| node.macs = 10);
    let mut few = two_branches();
    few[17].reads = vec![0];
    few[19].reads = vec![16, 18];
    few[16].reads = vec![8];
    for nodes in [tiny, few] {
        let turns = schedule(&nodes).unwrap();
        assert!(turns.iter().all(|turn| turn.memory == Memory::Main && turn.fork.is_none()), "{turns:?}");
    }
}

#[test]
fn operators_of_tracts_and_what_reads_them_are_in_no_fork() {
    let mut nodes = two_branches();
    (nodes[5].is_kernel, nodes[14].is_kernel) = (false, false);
    let turns = schedule(&nodes).unwrap();
    assert!([5, 6, 14, 15, 19].iter().all(|&node| turns[node].fork.is_none()), "{turns:?}");
}

fn graphs() -> impl Strategy<Value = Vec<Node>> {
    let step = (prop::collection::vec(0.0..1.0_f64, 0..3), 0..4_000_000_usize, 0..20_u32, 0..20_u32, 0..4_usize);
    prop::collection::vec(step, 0..80).prop_map(|steps| {
        let of = |(i, (reads, macs, input, tract, width)): (usize, (Vec<f64>, usize, u32, u32, usize))| {
            // Few far reads, so that there are long branches.
            let near = |read: f64| i - 1 - ((read.powi(width as i32 + 1) * i as f64) as usize).min(i - 1);
            let mut reads: Vec<usize> = reads.into_iter().filter(|_| i > 0).map(near).collect();
            reads.sort_unstable();
            reads.dedup();
            Node { segment: 0, id: i, reads, macs, reads_inputs: input == 0, is_kernel: tract > 0 }
        };
        steps.into_iter().enumerate().map(of).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn turns_are_sound(nodes in graphs()) {
        let turns = schedule(&nodes).unwrap();
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_unstable_by_key(|&node| turns[node].at);
        prop_assert!(order.iter().enumerate().all(|(at, &node)| turns[node].at == at), "a turn for each");
        for (node, Node { reads, reads_inputs, .. }) in nodes.iter().enumerate() {
            let Turn { at, memory, fork } = turns[node];
            for &read in reads {
                prop_assert!(turns[read].at < at, "{node} runs before {read}, which it reads");
                prop_assert!(fork.is_none() || turns[read].memory == memory, "{node} reads another memory");
                prop_assert!(fork.is_none() || nodes[read].is_kernel, "{node} reads what tract made");
            }
            prop_assert!(nodes[node].is_kernel || (fork.is_none() && memory == Memory::Main));
            prop_assert!(!(*reads_inputs && fork.is_some() && memory == Memory::Branch), "{node} reads an input");
        }
        // The steps of a fork follow one another.
        let forks: Vec<usize> = order.iter().filter_map(|&node| turns[node].fork).collect();
        prop_assert!(forks.is_sorted());
        for pair in order.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|node| turns[node].fork);
            let ended = order.iter().filter(|&&node| turns[node].at > turns[pair[0]].at);
            prop_assert!(a == b || a.is_none() || ended.into_iter().all(|&node| turns[node].fork != a));
        }
    }
}
