//! Events, as a user meets them.

use serde_json::Value;

use crate::cli::Folder;
use crate::program::{program, refuses, repository};

/// Pictures: one thing, another one, and the first again, ten of each.
fn pictures(folder: &Folder) -> String {
    let images = folder.path("images");
    std::fs::create_dir(&images).unwrap();
    for number in 0..30u32 {
        let name = if (10..20).contains(&number) { "pictures/grey.jpg" } else { "ankle_boot.png" };
        let extension = if name.ends_with("jpg") { "jpg" } else { "png" };
        std::fs::copy(repository().join("tests/fixtures").join(name), format!("{images}/{number:02}.{extension}"))
            .unwrap();
    }
    images
}

fn lines(args: &[&str]) -> Vec<Value> {
    let output = program(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn classes_appear_and_leave_and_every_event_is_acted_upon() {
    let folder = Folder::new();
    let images = pictures(&folder);
    let (saved, told) = (folder.path("events"), folder.path("told"));
    let rule = format!(
        "[[on]]\nevent = [\"appeared\", \"left\"]\nrun = [\"sh\", \"-c\", 'echo \"$@\" >> \"$0\"', {told:?}, \"{{event}}\", \"{{label}}\", \"{{snapshot}}\"]\n"
    );
    let file = folder.file("config.toml", rule.as_bytes());
    let base = ["run", "--frames", &images, "--exit", "early3", "--fps", "100", "--json"];
    let events = ["--config", &file, "--event-confidence", "0", "--event-frames", "3/5", "--event-folder", &saved];
    let all = lines(&[&base[..], &events].concat());
    let classes: Vec<&Value> = all.iter().filter(|line| line["kind"] == "frame").map(|line| &line["class"]).collect();
    let (boot, bag) = (classes[0], classes[15]);
    assert_ne!(boot, bag, "the model tells them apart");
    let events: Vec<&Value> = all.iter().filter(|line| line["kind"] == "event").collect();
    let of = |kind: &str, class: &Value| -> Vec<u64> {
        let those = events.iter().filter(|event| event["event"] == kind && event["class"] == *class);
        those.map(|event| event["frame"].as_u64().unwrap()).collect()
    };
    // Three of five frames: two more than the first.
    assert_eq!((of("appeared", boot), of("left", boot)), (vec![2, 22], vec![12]));
    assert_eq!((of("appeared", bag), of("left", bag)), (vec![12], vec![22]));
    let told = std::fs::read_to_string(&told).unwrap();
    assert_eq!(told.lines().count(), 5, "{told}");
    let snapshot = told.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert!(std::fs::read(snapshot).unwrap().starts_with(&[0xff, 0xd8]), "{told}");
    assert_eq!(std::fs::read_dir(&saved).unwrap().count(), 10, "a record and a snapshot each");
    // Only one class is asked for.
    let only = format!("{boot}=0%");
    let all = lines(&[&base[..], &["--event-classes", &only]].concat());
    let events: Vec<&Value> = all.iter().filter(|line| line["kind"] == "event").map(|line| &line["class"]).collect();
    assert_eq!(events, [boot, boot, boot]);
}

#[test]
fn a_folder_of_events_stays_within_its_bounds_and_a_full_disk_ends_nothing() {
    let folder = Folder::new();
    let images = pictures(&folder);
    let saved = folder.path("events");
    let base = ["run", "--frames", &images, "--fps", "200", "--json", "--event-confidence", "0"];
    let events = ["--event-frames", "1/1", "--still-every", "0.001", "--event-folder", &saved, "--event-mib", "1"];
    // What an earlier run left there: as much as may be there.
    std::fs::create_dir(&saved).unwrap();
    std::fs::write(format!("{saved}/event-1-old.jpg"), vec![0; 1 << 20]).unwrap();
    let all = lines(&[&base[..], &events].concat());
    assert!(all.iter().filter(|line| line["kind"] == "event").count() >= 20);
    let files = std::fs::read_dir(&saved).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(files.sum::<u64>() <= 1 << 20);
    assert!(!std::path::Path::new(&format!("{saved}/event-1-old.jpg")).exists());
    refuses(&[&base[..], &["--event-folder", "/dev/null/events"]].concat(), &["/dev/null/events"]);
    refuses(&[&base[..], &["--event-classes", "99"]].concat(), &["no class \"99\""]);
    refuses(&[&base[..], &["--event-frames", "6/5"]].concat(), &["6 of 5 frames"]);
}
