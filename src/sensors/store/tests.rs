//! Tests of the state file.

use std::time::Duration;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn state_round_trips_and_counts_generations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    assert_eq!(load(&path).unwrap(), None);
    let Opened { mut file, mut stored, set_aside } = StateFile::open(&path).unwrap();
    assert_eq!((&stored, set_aside), (&Stored::default(), None));
    stored.learned = Some(Learned::new(36_000.0));
    stored.coulomb = Some(CoulombState::new(0.4));
    stored.mission = Some(MissionClock::new(Duration::from_secs(60), Duration::from_secs(10)));
    assert_eq!([file.save(&mut stored).unwrap(), file.save(&mut stored).unwrap()], [1, 2]);
    assert_eq!(load(&path).unwrap().as_ref(), Some(&stored));
    drop(file);
    let again = StateFile::open(&path).unwrap();
    assert_eq!((again.stored, again.set_aside), (stored, None));
    assert_eq!(names(folder.path()), ["state.json"], "nothing stays beside it");
}

#[test]
fn threads_are_kept_for_one_model_on_as_many_cores() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let Opened { mut file, mut stored, .. } = StateFile::open(&path).unwrap();
    let (model, three) = (ModelDigest([7; 32]), NonZeroUsize::new(3).unwrap());
    let kept = KeptThreads::here(three, model);
    stored.threads = Some(kept.clone());
    file.save(&mut stored).unwrap();
    assert_eq!(load(&path).unwrap().unwrap().threads.as_ref(), Some(&kept));
    assert_eq!(kept.for_model(model), Some(three));
    assert_eq!(kept.for_model(ModelDigest([8; 32])), None);
    let elsewhere = KeptThreads { cores: kept.cores.saturating_add(1), ..kept };
    assert_eq!(elsewhere.for_model(model), None);
}

#[test]
fn times_are_kept_for_one_model_on_one_machine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let Opened { mut file, mut stored, .. } = StateFile::open(&path).unwrap();
    let (model, one) = (ModelDigest([7; 32]), NonZeroUsize::MIN);
    let kept = |machine: &str| KeptTimes::new(model, MachineTimes::new(machine, one, [0.25, 0.5]));
    stored.times = Some(kept(&crate::machine::name()));
    file.save(&mut stored).unwrap();
    let read = load(&path).unwrap().unwrap().times.unwrap();
    assert!(read.here(model, one, 2).is_some());
    assert!(read.here(ModelDigest([8; 32]), one, 2).is_none() && read.here(model, one, 3).is_none());
    assert!(read.here(model, one.saturating_add(1), 2).is_none());
    assert!(kept("another machine").here(model, one, 2).is_none());
}

#[test]
fn state_of_an_older_version_is_read_and_the_counter_does_not_wrap() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    fs::write(&path, r#"{"periods":7,"learned":null,"coulomb":{"soc":0.25},"power":null,"mission":null}"#).unwrap();
    let Opened { mut file, mut stored, .. } = StateFile::open(&path).unwrap();
    assert_eq!((stored.generation, stored.coulomb), (7, Some(CoulombState::new(0.25))));
    stored.generation = u64::MAX;
    assert_eq!(file.save(&mut stored).unwrap(), u64::MAX);
    assert_eq!(load(&path).unwrap().unwrap().generation, u64::MAX);
}

#[test]
fn state_that_is_empty_zeros_cut_newer_or_impossible_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let bad = folder.path().join("state.json.bad");
    let zeros = "\0".repeat(512);
    for (content, reason) in [
        ("", "but it is empty"),
        (zeros.as_str(), "but it is all zeros"),
        (r#"{"periods":1,"learned":null,"coulomb":{""#, "EOF while parsing"),
        (
            r#"{"generation":1,"learned":null,"coulomb":null,"power":null,"mission":null,"sky":1}"#,
            "unknown field `sky`",
        ),
        (r#"{"periods":1,"learned":null,"coulomb":{"soc":7.0},"power":null,"mission":null}"#, "outside [0, 1]"),
        ("hello", "expected value"),
    ] {
        fs::write(&path, content).unwrap();
        assert!(matches!(load(&path), Err(StoreError::Content { .. })));
        let Opened { mut file, mut stored, set_aside } = StateFile::open(&path).unwrap();
        assert_eq!(stored, Stored::default());
        let told = set_aside.unwrap();
        assert!(told.reason.contains(reason) && told.to_string().contains("state.json.bad"), "{told}");
        assert_eq!(fs::read_to_string(&bad).unwrap(), content);
        assert_eq!(file.save(&mut stored).unwrap(), 1);
        assert_eq!(load(&path).unwrap(), Some(stored));
        assert_eq!(names(folder.path()), ["state.json", "state.json.bad"]);
    }
}

#[test]
fn state_file_is_kept_by_one_program_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let Opened { mut file, mut stored, .. } = StateFile::open(&path).unwrap();
    for _ in 0..3 {
        let refused = StateFile::open(&path).unwrap_err();
        let expected = "another program keeps its state in this file; end it, or name another file";
        assert_eq!(refused.to_string(), format!("{}: {expected}", path.display()));
        // The lock goes with the name, not with the first file of that name.
        file.save(&mut stored).unwrap();
    }
    assert!(load(&path).unwrap().is_some(), "reading needs no lock");
    drop(file);
    assert_eq!(StateFile::open(&path).unwrap().stored.generation, 3);
}

#[test]
fn state_file_of_programs_that_begin_at_once_is_kept_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    for _ in 0..20 {
        let _ = fs::remove_file(&path);
        let all_done = std::sync::Barrier::new(4);
        let kept: usize = std::thread::scope(|scope| {
            let begin = || {
                let opened = StateFile::open(&path);
                all_done.wait();
                usize::from(opened.is_ok())
            };
            let programs = [(); 4].map(|()| scope.spawn(begin));
            programs.into_iter().map(|program| program.join().unwrap()).sum()
        });
        assert_eq!(kept, 1);
    }
}

#[test]
fn state_in_a_place_that_cannot_be_written_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none/state.json");
    let error = StateFile::open(&path).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: the state cannot be written", path.display()));
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "No such file or directory (os error 2)");
    // A folder under the name is no state that could be put aside.
    assert!(matches!(StateFile::open(folder.path()), Err(StoreError::File { action: Action::Read, .. })));
}
