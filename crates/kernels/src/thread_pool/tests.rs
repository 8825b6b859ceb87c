use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

fn pool(threads: usize) -> ThreadPool {
    ThreadPool::new(NonZeroUsize::new(threads).unwrap()).unwrap()
}

#[test]
fn thread_pool_does_every_part_once_on_any_number_of_threads() {
    for threads in 1..4 {
        let mut pool = pool(threads);
        assert_eq!(pool.threads(), threads);
        for parts in [0, 1, 2, 3, 7, 100] {
            for pause in [0, 200] {
                let done: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                pool.run(parts, &|part| {
                    done[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1), "{threads} threads, {parts} parts");
                // Long enough for the workers to fall asleep.
                thread::sleep(Duration::from_micros(pause));
            }
        }
    }
}

#[test]
fn thread_pool_chunks_cover_the_result() {
    let mut pool = pool(3);
    for len in [0, 1, 5, 64, 67] {
        let mut out = vec![f32::NAN; len];
        pool.run_chunks(&mut out, 5, &|part, chunk| chunk.fill(part as f32));
        let expected: Vec<f32> = (0..len).map(|i| (i / 5) as f32).collect();
        assert_eq!(out, expected);
    }
}

#[test]
fn thread_pool_gives_each_thread_its_own_scratch() {
    for threads in 1..4 {
        let mut pool = pool(threads);
        let mut scratch = vec![0.0; 8 * threads];
        let sums = AtomicUsize::new(0);
        pool.run_with_scratch(50, &mut scratch, &|part, scratch| {
            assert_eq!(scratch.len(), 8);
            scratch.fill(part as f32);
            thread::yield_now();
            assert!(scratch.iter().all(|value| *value == part as f32), "another thread writes this scratch");
            sums.fetch_add(part, Ordering::Relaxed);
        });
        assert_eq!(sums.into_inner(), 49 * 50 / 2);
    }
}

#[test]
fn thread_pool_hands_on_a_panic_and_works_on() {
    let mut pool = pool(2);
    for part in 0..4 {
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(4, &|p| assert_ne!(p, part, "part {p}"))));
        let message = *result.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains(&format!("part {part}")), "{message}");
    }
    let sum = AtomicUsize::new(0);
    pool.run(4, &|p| {
        sum.fetch_add(p, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 6);
}

#[test]
fn thread_pool_does_work_beside_jobs_and_leaves_the_rest_when_they_have_ended() {
    for threads in 1..4 {
        let mut pool = pool(threads);
        for steps in [0, 3, 100_000_000_u64] {
            let (mut left, mut done, sum) = (0..steps, 0, AtomicUsize::new(0));
            pool.run_beside(
                &mut |stop| {
                    while !stop.load(Ordering::Relaxed) && left.next().is_some() {
                        done += 1;
                    }
                },
                |pool| {
                    for _ in 0..3 {
                        pool.run(5, &|part| {
                            sum.fetch_add(part, Ordering::Relaxed);
                        });
                    }
                },
            );
            assert_eq!(sum.into_inner(), 30, "{threads} threads, {steps} steps");
            assert_eq!(left.end - left.start, steps - done);
            assert!(threads > 1 || done == 0, "there is no other thread");
        }
    }
}

/// So that what `main` borrows is not used any more when it has returned.
#[test]
fn thread_pool_hands_on_a_panic_beside_jobs_when_both_have_ended() {
    let mut pool = pool(2);
    for beside in [false, true] {
        let taken = AtomicBool::new(false);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run_beside(
                &mut |_| {
                    taken.store(true, Ordering::SeqCst);
                    assert!(!beside, "beside");
                },
                |_| {
                    while !taken.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                    assert!(beside, "main");
                },
            );
        }));
        let message = result.unwrap_err();
        assert_eq!(message.downcast_ref::<&str>(), Some(if beside { &"beside" } else { &"main" }));
    }
    let mut sum = 0;
    pool.run_beside(&mut |_| (), |_| sum += 1);
    assert_eq!(sum, 1);
}

#[test]
fn thread_pool_runs_on_the_instruction_set_asked_for() {
    for isa in Isa::available() {
        let pool = ThreadPool::with_isa(NonZeroUsize::MIN, isa).unwrap();
        assert_eq!(pool.isa(), isa);
        assert_eq!(
            format!("{pool:?}"),
            format!("ThreadPool {{ threads: 1, isa: {isa:?}, int8_isa: {:?} }}", pool.int8_isa())
        );
    }
    let foreign = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
    let error = ThreadPool::with_isa(NonZeroUsize::MIN, foreign).unwrap_err();
    assert!(matches!(error, PoolError::Isa(IsaError::Unavailable { .. })), "{error}");
}
