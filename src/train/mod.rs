//! Training any ONNX classifier on the stock ONNX Runtime.
//!
//! [`Plan::new`] makes the training step of a model, which says how its samples must look; [`Plan::start`] takes the
//! samples and gives a [`Trainer`]; [`Trainer::run`] trains and tells of every step and epoch; [`Trainer::trained`] is the
//! original model with what it has learnt, everything else byte for byte as it was.
//!
//! The same seed, data, options and number of threads give the same bits, and a run that was stopped at any moment goes
//! on to the same bits: random numbers are functions of seed, epoch and sample, and checkpoints hold everything else.

mod augment;
mod checkpoint;
mod epoch;
mod error;
mod frozen;
mod history;
mod hold_back;
mod initial;
mod keep;
mod kernels;
mod labels;
mod loader;
mod metrics;
mod options;
mod order;
mod plan;
mod plot;
mod random;
mod schedule;
mod session;
mod split;
mod tensors;
mod terms;
mod trainer;

pub use error::TrainError;
pub use history::EpochRecord;
pub use hold_back::HoldBack;
pub use metrics::Measured;
pub use options::{Augmentation, Best, ClassWeights, TrainerOptions};
pub use plan::Plan;
pub use plot::save_curves;
pub use schedule::{BonusWeight, Decay, Growth, LearningRate, Progress};
pub use split::{Split, split};
pub use trainer::{End, Event, Flow, Summary, Trainer};

/// Reads a checkpoint as a run does that is resumed, and forgets it: what the fuzzer runs.
///
/// # Errors
/// A file that is no whole checkpoint.
#[doc(hidden)]
pub fn read_checkpoint(path: &std::path::Path) -> Result<(), TrainError> {
    checkpoint::Checkpoint::load(path).map(drop)
}

/// Files of a run folder.
pub mod files {
    /// The newest checkpoint.
    pub const LAST: &str = "last.safetensors";
    /// The checkpoint of the best epoch.
    pub const BEST: &str = "best.safetensors";
    /// What was measured.
    pub const METRICS: &str = "metrics.json";
}
