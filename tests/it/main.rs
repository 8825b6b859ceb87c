//! What a user of the library relies on, end to end. One binary, so that tract is linked once.

mod batch;
mod bundle;
mod clothing;
mod detector;
mod examples;
mod exports;
mod facade;
mod family;
mod gated;
mod gauge;
mod graphs;
mod instruction_sets;
mod learning;
mod loading;
mod preprocessing;
mod quantising;
mod shipped;
mod shipped_detector;
mod shipped_video;
mod staging;
mod states;
mod tasks;
mod video;
