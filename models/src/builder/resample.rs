//! Features at twice the size.

use super::{Attribute, Builder, Source, Value};

impl Builder {
    /// Nearest-neighbour upsampling by two: row i is row i / 2.
    pub(crate) fn upsample(&mut self, name: &str, x: &Value) -> Value {
        let scales = self.initializer(format!("{name}/scales"), &[4], Source::Numbers(vec![1.0, 1.0, 2.0, 2.0]));
        let attributes = vec![
            ("mode", Attribute::Text("nearest")),
            ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
            ("nearest_mode", Attribute::Text("floor")),
        ];
        let shape = vec![1, x.shape[1], 2 * x.shape[2], 2 * x.shape[3]];
        self.node(name, "Resize", &[&x.name, "", &scales], attributes, shape)
    }
}
