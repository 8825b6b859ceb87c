//! The part of dyn-perceiver that also runs on a microcontroller: exit decisions and the energy governor.
//!
//! Neither `std` nor an allocator is needed, and nothing here panics on outside data. [`exit`] reads confidence off logits
//! and decides where a frame leaves the network; [`detect`] turns the maps of a detector into boxes; [`energy`] tells the state
//! of charge and chooses the operating point; [`gate`] says whether a frame has to go through the network at all, and
//! [`events`] what of the answers somebody wants to be told.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "std", test))]
extern crate std;

mod crc;
pub mod detect;
pub mod energy;
pub mod events;
pub mod exit;
#[cfg(feature = "std")]
pub mod file;
pub mod gate;
mod inline;
