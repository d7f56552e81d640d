//! One epoch: train, validate, keep.

use std::time::Instant;

use super::history::EpochRecord;
use super::loader::{Epoch, each_batch};
use super::metrics::{Measured, Outcome, Rows, Sums};
use super::options::Augmentation;
use super::order::Order;
use super::plan::schedule;
use super::random::Random;
use super::schedule::Progress;
use super::session::{Given, Scalars};
use super::trainer::{Event, Flow, Trainer};
use super::{TrainError, files};
use crate::data::{Batch, Samples};
use crate::rewrite::Precision;

/// Tells the seeds of dropout from other random numbers of the same seed.
const DROPOUT: u64 = 0x0064_726f_706f_7574;

impl Trainer {
    /// One epoch, or what is left of it.
    pub(super) fn epoch(&mut self, tell: &mut impl FnMut(&Event<'_>) -> Flow) -> Result<Flow, TrainError> {
        let begin = Instant::now();
        if self.train(begin, tell)? == Flow::Stop {
            return Ok(Flow::Stop);
        }
        let rate = self.trained_since(begin);
        let Some(validation) = self.validate(tell)? else { return Ok(Flow::Stop) };
        let record = self.close_epoch(validation, rate, begin)?;
        Ok(tell(&Event::Epoch(&record)))
    }

    /// Samples per second since then, of the epoch that was begun.
    fn trained_since(&self, begin: Instant) -> f64 {
        self.sampled as f64 / begin.elapsed().as_secs_f64().max(1e-9)
    }

    /// The steps that are left of the epoch.
    fn train(&mut self, begin: Instant, tell: &mut impl FnMut(&Event<'_>) -> Flow) -> Result<Flow, TrainError> {
        let (number, first) = (self.standing.epoch, self.standing.step_of_epoch);
        // the samples are read by other threads while the rest of the trainer changes
        let training = std::mem::take(&mut self.training);
        let order = self.order.clone();
        let epoch = Epoch {
            samples: &training,
            order: &order,
            number,
            first: usize::try_from(first).unwrap_or(usize::MAX),
            augmentation: self.options.augmentation,
            seed: self.options.seed,
            threads: threads(&training),
        };
        self.sampled = 0;
        let mut flow = Flow::Continue;
        let result = each_batch(epoch, |batch| {
            self.make_step(&batch)?;
            flow = tell(&Event::Step {
                epoch: number + 1,
                done: self.standing.step_of_epoch,
                steps: order.batches() as u64,
                measured: self.standing.sums.measured(),
                examples_per_second: self.trained_since(begin),
            });
            if flow == Flow::Continue
                && self.is_time_to_save()
                && let Some(path) = self.save(files::LAST)?
            {
                flow = tell(&Event::Saved(&path));
            }
            Ok::<bool, TrainError>(flow == Flow::Continue)
        });
        self.training = training;
        result.map(|()| flow)
    }

    fn is_time_to_save(&self) -> bool {
        self.options.save_every.is_some_and(|steps| steps > 0 && self.standing.step.is_multiple_of(steps))
    }

    fn progress(&self, step: u64) -> Progress {
        Progress { step, per_epoch: self.order.batches() as u64, epochs: self.options.epochs }
    }

    /// One step; nothing is kept of one whose loss is no number.
    fn make_step(&mut self, batch: &Batch) -> Result<(), TrainError> {
        let progress = self.progress(self.standing.step);
        let scalars = Scalars {
            learning_rate: self.options.learning_rate.at(progress) as f32,
            step: i64::try_from(self.standing.step + 1).unwrap_or(i64::MAX),
            seed: (Random::of(&[DROPOUT, self.options.seed, self.standing.step]).bits() >> 33) as i64,
            bonus_weight: schedule(&self.options).at(progress) as f32,
        };
        let mut sums = self.standing.sums;
        let measure = self.measure();
        let loss = self.sessions.train(batch, scalars, |given| measure.add(given, batch, &mut sums))?;
        if !loss.is_finite() {
            let saved = match (&self.options.run_folder, self.standing.history.len()) {
                (Some(folder), 1..) => format!("; the checkpoints in {} are from before", folder.display()),
                _ => String::new(),
            };
            let saved = match self.step.signature.precision {
                Precision::F16 => format!("; float16 ends at 65504, --precision f32 does not{saved}"),
                _ => saved,
            };
            let (epoch, step) = (self.standing.epoch + 1, self.standing.step_of_epoch + 1);
            return Err(TrainError::NotFinite { loss, epoch, step, saved });
        }
        self.standing.sums = sums;
        self.standing.step += 1;
        self.standing.step_of_epoch += 1;
        self.sampled += batch.rows() as u64;
        Ok(())
    }

    fn measure(&self) -> Measure {
        let ignored = self.step.options.loss.ignore_index();
        Measure { class_axis: self.step.signature.class_axis, ignored }
    }

    /// Means over the validation data; None where it was asked to stop, Some(None) where there are no such data.
    #[expect(clippy::option_option, reason = "one is whether, the other what")]
    fn validate(&mut self, tell: &mut impl FnMut(&Event<'_>) -> Flow) -> Result<Option<Option<Measured>>, TrainError> {
        let Some(validation) = self.validation.take() else { return Ok(Some(None)) };
        let order = Order::in_turn(validation.len(), self.options.batch, self.options.drop_last);
        let epoch = Epoch {
            samples: &validation,
            order: &order,
            number: 0,
            first: 0,
            augmentation: Augmentation::default(),
            seed: 0,
            threads: threads(&validation),
        };
        let weight = self.step.options.loss.bonus_weight();
        let measure = self.measure();
        let (mut sums, mut done, mut flow) = (Sums::default(), 0, Flow::Continue);
        let result = each_batch(epoch, |batch| {
            self.sessions.validate(&batch, weight, |given| measure.add(given, &batch, &mut sums))?;
            done += 1;
            flow = tell(&Event::Validation { done, batches: order.batches() as u64 });
            Ok::<bool, TrainError>(flow == Flow::Continue)
        });
        self.validation = Some(validation);
        result?;
        Ok((flow == Flow::Continue).then(|| Some(sums.measured())))
    }

    /// Notes the epoch, keeps the best, writes checkpoint and measures.
    fn close_epoch(
        &mut self,
        validation: Option<Measured>,
        examples_per_second: f64,
        begin: Instant,
    ) -> Result<EpochRecord, TrainError> {
        let progress = self.progress(self.standing.step.saturating_sub(1));
        let train = self.standing.sums.measured();
        let judged = validation.unwrap_or(train);
        let (score, better) = self.options.best.judge(&judged, self.standing.best_so_far().as_ref());
        let standing = &mut self.standing;
        standing.epoch += 1;
        standing.step_of_epoch = 0;
        standing.sums = Sums::default();
        let record = EpochRecord {
            epoch: standing.epoch,
            step: standing.step,
            train,
            validation,
            learning_rate: self.options.learning_rate.at(progress),
            bonus_weight: schedule(&self.options).at(progress),
            examples_per_second,
            seconds: begin.elapsed().as_secs_f64(),
            best: better,
        };
        standing.history.push(record);
        if better {
            standing.best = Some((standing.epoch, score));
            self.best = Some(self.values()?);
            self.save(files::BEST)?;
        }
        self.save(files::LAST)?;
        self.save_metrics()?;
        Ok(record)
    }
}

/// How batches are measured.
#[derive(Clone, Copy)]
struct Measure {
    class_axis: usize,
    ignored: Option<i64>,
}

impl Measure {
    /// Adds a batch; gives its loss.
    fn add(self, given: &Given<'_>, batch: &Batch, sums: &mut Sums) -> f32 {
        if let (Some(rows), Some(labels)) = (Rows::of(given.dims, self.class_axis), &batch.labels) {
            let (logits, margins, loss) = (given.logits, given.margins, f64::from(given.loss));
            sums.add(&Outcome { loss, logits, rows, margins, labels, ignored: self.ignored });
        }
        given.loss
    }
}

/// Threads that make batches: pictures are decoded by as many as there are processors, arrays are copied by one.
fn threads(samples: &Samples) -> usize {
    if !samples.decodes() {
        return 1;
    }
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get).min(8)
}
