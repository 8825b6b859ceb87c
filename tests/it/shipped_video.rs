//! The shipped network of videos: on its samples it does what its card says.

use dyn_perceiver::Classifier;
use dyn_perceiver::camera::{ImageLimits, decode_image};
use dyn_perceiver::exit::{Decision, ExitPolicy, OverTime, OverTimeSettings};

use crate::shipped::{folder, json, plan};

#[test]
fn the_shipped_network_of_videos_does_on_its_samples_what_its_card_says() {
    let (plan, card) = (plan("moving-fashion"), json(folder("moving-fashion").join("accuracy.json")));
    let (exits, classes) = (plan.info().exits.len(), plan.info().classes);
    let window = plan.info().video.as_ref().and_then(|video| video.window).unwrap();
    let samples = folder("moving-fashion").join("samples");
    let labels = json(samples.join("labels.json"));
    let names: Vec<String> = serde_json::from_value(labels["classes"].clone()).unwrap();
    assert_eq!(Some(&names), plan.info().labels.as_ref());
    let clips = labels["clips"].as_array().unwrap();
    assert_eq!(card["samples"]["clips"], clips.len());

    let mut classifier = Classifier::new(plan).unwrap();
    let with_exits: ExitPolicy = serde_json::from_value(card["policy"].clone()).unwrap();
    for (policy, expected) in [(ExitPolicy::only(exits - 1, exits).unwrap(), "right"), (with_exits, "right_with_exits")]
    {
        let settings = OverTimeSettings::new(policy.clone(), window, 1).unwrap();
        let storage = vec![0.0; OverTime::<Vec<f32>>::storage_len(exits, classes, window)];
        let mut video = OverTime::new(settings, classes, storage).unwrap();
        let mut right = 0;
        for clip in clips {
            classifier.runtime().reset();
            video.reset();
            for k in 0..window {
                let path = samples.join(clip["clip"].as_str().unwrap()).join(format!("{k}.jpg"));
                let image = classifier.tensor(&decode_image(&path, ImageLimits::default()).unwrap()).unwrap().to_vec();
                classifier.runtime().begin(&image).unwrap();
                video.begin();
                for exit in (0..exits).filter(|&exit| policy.evaluates(exit)) {
                    if video.observe(exit, classifier.runtime().advance(exit).unwrap()).unwrap() == Decision::Leave {
                        break;
                    }
                }
                video.finish();
            }
            right += usize::from(video.answer().is_some_and(|class| clip["class"] == names[class].as_str()));
        }
        let expected = card["samples"][expected].as_u64().unwrap() as usize;
        assert!(right.abs_diff(expected) <= 1, "{right} clips right, the card says {expected}");
    }
}
