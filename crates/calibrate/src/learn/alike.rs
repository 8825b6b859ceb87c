//! Images that look alike: several of one thing, which must not be learned from and tested on at once.

use super::discriminant::Space;
use super::features::Features;
use super::matrix::dot;

/// For each image the number of its group. Two of a class are of a group when they are more alike, by the cosine of their
/// features, than any two images of different classes. No group is larger than a class' share of `parts`, so that there are
/// enough of them to deal out.
pub(super) fn groups(space: &Space, features: &Features, parts: usize) -> Vec<usize> {
    let images = features.len();
    let row = |image: usize| space.row(features.rows_of(image).start);
    let lengths: Vec<f64> = (0..images).map(|image| dot(row(image), row(image)).sqrt().max(1e-12)).collect();
    let alike = |a: usize, b: usize| dot(row(a), row(b)) / (lengths[a] * lengths[b]);
    let (mut limit, mut pairs) = (0.0f64, vec![]);
    for a in 0..images {
        for b in 0..a {
            let cosine = alike(a, b);
            if features.labels()[a] == features.labels()[b] {
                pairs.push((cosine, b, a));
            } else {
                limit = limit.max(cosine);
            }
        }
    }
    pairs.retain(|&(cosine, ..)| cosine > limit);
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let counts = features.counts();
    let mut group: Vec<usize> = (0..images).collect();
    let mut size = vec![1; images];
    for (_, a, b) in pairs {
        let (into, from) = (group[a].min(group[b]), group[a].max(group[b]));
        let most = (counts[features.labels()[a]] / parts.max(1)).max(1);
        if into != from && size[into] + size[from] <= most {
            size[into] += size[from];
            group.iter_mut().filter(|group| **group == from).for_each(|group| *group = into);
        }
    }
    group
}
