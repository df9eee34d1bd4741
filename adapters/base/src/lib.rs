//! Base models through mistral.rs: pulled, normalised, loaded on demand, unloaded without disturbing answers under way.
//!
//! [`pull`] fetches a model and [`normalise`]s it into the model directory; [`BaseModels`] serves what is there as a
//! [`Generator`](cairn_adapters::Generator), through mistral.rs or through the engine [`Beside`] it. This is the one crate
//! that depends on mistral.rs.

mod admission;
mod answer;
mod beside;
mod budget;
mod choose;
mod engine;
mod load;
mod manifest;
mod merge;
mod models;
pub mod normalise;
pub mod pull;
mod registry;
mod text;

pub use beside::{Beside, BesideModel};
pub use engine::Prompt;
pub use manifest::{Format, Kind, Manifest, ManifestError, hash_directory};
pub use models::{BaseConfig, BaseModels, EngineName, Listed, OpenError, Status, WhenLoading};
