//! What a name of the family leaves open about a network.

use clap::Args;
use dyn_perceiver_models::{Config, Task};

use super::task::TaskArgs;

use crate::output::failure::{Failure, wrong};

/// Options of a network.
#[derive(Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Multiply the 3, 3, 9 and 3 self-attention layers of the four stages by these factors
    #[arg(long, value_name = "A,B,C,D", value_delimiter = ',', num_args = 1..=4)]
    depth_factor: Option<Vec<usize>>,
    /// Widen the hidden channels of a self-attention layer's MLP by this factor
    #[arg(long, value_name = "N")]
    sa_widening: Option<usize>,
    /// Use so many latent tokens, in place of the name's
    #[arg(long, value_name = "N")]
    latents: Option<usize>,
    /// Set height and width of the image in pixels: one number for a square, or HEIGHTxWIDTH [default: 224]
    #[arg(long, value_name = "PIXELS", value_parser = super::number::height_width)]
    input_size: Option<[usize; 2]>,
    /// Set the number of classes; of a detector, of its boxes
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Do not read image features into the latent code in stages 2 to 4
    #[arg(long)]
    no_x2z: bool,
    /// Do not write the latent code into image features before stages 2 to 4
    #[arg(long)]
    no_z2x: bool,
    /// Leave out the depthwise convolution before image features are read
    #[arg(long)]
    no_dwc: bool,
    /// Do not write the latent code into the last image features
    #[arg(long)]
    no_last_ca: bool,
    /// Let no exit see the logits of the one before
    #[arg(long)]
    no_isc: bool,
    /// Read image features as they are, not pooled to 7x7
    #[arg(long)]
    no_spatial_reduction: bool,
    #[command(flatten)]
    task: TaskArgs,
}

impl NetworkArgs {
    /// Overrides what was said on the command line.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), Failure> {
        if let Some(factors) = &self.depth_factor {
            let Ok(four) = <[usize; 4]>::try_from(factors.as_slice()) else {
                return wrong(format!("--depth-factor takes four numbers, got {}", factors.len()));
            };
            config.depth_factor = four;
        }
        config.sa_widening = self.sa_widening.unwrap_or(config.sa_widening);
        config.latents = self.latents.unwrap_or(config.latents);
        config.input_size = self.input_size.unwrap_or(config.input_size);
        config.task = self.task.task(config, self.classes)?;
        config.classes = match &config.task {
            Task::Detection(_) => self.task.exit_classes.unwrap_or(config.classes),
            _ => self.classes.unwrap_or(config.classes),
        };
        config.with_x2z &= !self.no_x2z;
        config.with_z2x &= !self.no_z2x;
        config.with_dwc &= !self.no_dwc;
        config.with_last_ca &= !self.no_last_ca;
        config.with_isc &= !self.no_isc;
        config.spatial_reduction &= !self.no_spatial_reduction;
        Ok(())
    }
}
