//! What a user of the library does.

use std::path::Path;

use elonnx::data::{Options, Samples};
use elonnx::loss::EncouragingLoss;
use elonnx::model::{Document, ExternalData, Initializer};
use elonnx::rewrite::optimizer::Optimizer;
use elonnx::train::{
    Best, ClassWeights, Decay, End, Event, Flow, Growth, LearningRate, Plan, TrainError, Trainer, TrainerOptions, files,
};

use super::{FEATURES, clusters, library, network, options, trainer};

fn run(trainer: &mut Trainer) -> End {
    trainer.run(|_| Flow::Continue).unwrap().end
}

/// Bytes of all initializers, by name.
fn weights(document: &Document) -> Vec<(String, Vec<u8>)> {
    let bytes = |initializer: &elonnx::model::Initializer| {
        initializer.tensor().unwrap().raw_data.map(|raw| raw.to_vec()).unwrap_or_default()
    };
    document.graph().initializers().iter().map(|one| (one.name().to_owned(), bytes(one))).collect()
}

#[test]
fn a_network_learns_what_can_be_separated() {
    let Some(library) = library("a_network_learns_what_can_be_separated") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (optimizer, rate) in
        [(Optimizer::adamw(), 0.02), (Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 }, 0.05)]
    {
        let mut options =
            TrainerOptions { epochs: 20, learning_rate: LearningRate::constant(rate), ..options(library.clone()) };
        options.step.optimizer = optimizer;
        options.step.loss = EncouragingLoss::default();
        let mut trainer = trainer(folder.path(), options).unwrap();
        let (mut steps, mut epochs) = (0, 0);
        let summary = trainer.run(|event| {
            match event {
                Event::Step { .. } => steps += 1,
                Event::Epoch(_) => epochs += 1,
                _ => {}
            }
            Flow::Continue
        });
        assert_eq!((summary.unwrap().end, steps, epochs), (End::Finished, 200, 20));
        let (first, last) = (&trainer.history()[0], &trainer.history()[19]);
        assert!(last.validation.unwrap().accuracy > 0.95, "{optimizer:?}: {last:?}");
        assert!(last.train.loss < first.train.loss && last.train.margin > first.train.margin, "{first:?} {last:?}");
        assert!(last.train.energy < first.train.energy, "{first:?} {last:?}");
        assert_eq!(last.train.samples, 300);
        let trained = trainer.trained().unwrap();
        let (before, after) = (weights(&network()), weights(&trained));
        assert!(before.iter().zip(&after).any(|(a, b)| a != b), "no weight changed");
        assert_eq!(before.iter().map(|w| &w.0).collect::<Vec<_>>(), after.iter().map(|w| &w.0).collect::<Vec<_>>());
    }
}

/// With momentum state, schedules that depend on the step, class weights and a last batch that is smaller.
fn full(library: &Path, folder: &Path) -> TrainerOptions {
    let mut options = TrainerOptions {
        learning_rate: LearningRate { base: 0.02, warmup: 0.5, decay: Decay::Cosine { least: 0.0 } },
        deferred_bonus: 1,
        bonus_growth: Growth::Linear,
        class_weights: ClassWeights::Balanced,
        best: Best::Loss,
        run_folder: Some(folder.to_owned()),
        ..options(library.to_owned())
    };
    options.step.loss = EncouragingLoss::builder().label_smoothing(0.1).build().unwrap();
    options.step.clip_norm = Some(1.0);
    options
}

#[test]
fn a_resumed_run_is_the_same_to_the_bit() {
    let Some(library) = library("a_resumed_run_is_the_same_to_the_bit") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let mut whole = trainer(data, full(&library, &data.join("whole"))).unwrap();
    assert_eq!(run(&mut whole), End::Finished);
    let expected = whole.trained().unwrap().to_bytes();

    // stopped after every 7th step, so in the midst of epochs and between training and validation
    let parts = data.join("parts");
    let mut begun = false;
    for _ in 0..20 {
        let options = TrainerOptions { resume: begun, ..full(&library, &parts) };
        let mut part = trainer(data, options).unwrap();
        begun = true;
        let mut steps = 0;
        let summary = part.run(|event| {
            steps += u64::from(matches!(event, Event::Step { .. } | Event::Validation { .. }));
            if steps >= 7 { Flow::Stop } else { Flow::Continue }
        });
        if summary.unwrap().end == End::Finished {
            assert_eq!(part.trained().unwrap().to_bytes(), expected);
            let measured =
                |trainer: &Trainer| trainer.history().iter().map(|r| (r.train, r.validation)).collect::<Vec<_>>();
            assert_eq!(measured(&part), measured(&whole));
            for name in [files::LAST, files::BEST, files::METRICS] {
                assert!(parts.join(name).is_file(), "{name}");
            }
            let metrics = std::fs::read_to_string(parts.join(files::METRICS)).unwrap();
            let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
            assert_eq!(metrics["history"].as_array().unwrap().len(), 4);
            return;
        }
    }
    panic!("it never ended");
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_other_ones() {
    let Some(library) = library("the_same_seed_gives_the_same_bits_and_another_other_ones") else { return };
    let folder = tempfile::tempdir().unwrap();
    let bytes = |seed: u64| {
        let mut trainer =
            trainer(folder.path(), TrainerOptions { seed, epochs: 1, ..options(library.clone()) }).unwrap();
        run(&mut trainer);
        trainer.trained().unwrap().to_bytes()
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

#[test]
fn frozen_parameters_stay() {
    let Some(library) = library("frozen_parameters_stay") else { return };
    let folder = tempfile::tempdir().unwrap();
    let before = weights(&network());
    let mut options = TrainerOptions { epochs: 1, ..options(library) };
    options.step.freeze = vec![before[0].0.clone()];
    let mut trainer = trainer(folder.path(), options).unwrap();
    run(&mut trainer);
    let after = weights(&trainer.trained().unwrap());
    assert_eq!(before[0], after[0]);
    assert_ne!(before, after);
}

#[test]
fn patience_ends_a_run_that_gets_no_better() {
    let Some(library) = library("patience_ends_a_run_that_gets_no_better") else { return };
    let folder = tempfile::tempdir().unwrap();
    let rate = LearningRate::constant(1e-30);
    let options = TrainerOptions { patience: Some(2), epochs: 50, learning_rate: rate, ..options(library) };
    let mut trainer = trainer(folder.path(), options).unwrap();
    assert_eq!(run(&mut trainer), End::OutOfPatience);
    assert_eq!(trainer.position(), (3, 0));
}

#[test]
fn mistakes_are_told() {
    let Some(library) = library("mistakes_are_told") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let run_folder = data.join("run");
    let told = |options: TrainerOptions| trainer(data, options).err().expect("an error").to_string();
    let base = || TrainerOptions { run_folder: Some(run_folder.clone()), ..options(library.clone()) };

    assert!(told(TrainerOptions { resume: true, ..base() }).contains("nothing to resume"));
    assert!(
        told(TrainerOptions { class_weights: ClassWeights::Given(vec![1.0; 3]), ..base() })
            .contains("3 class weights for 10")
    );
    assert!(told(TrainerOptions { batch: 500, drop_last: true, ..base() }).contains("do not fill a batch"));
    assert!(told(TrainerOptions { epochs: 0, ..base() }).contains("at least one epoch"));
    let mut augmented = base();
    augmented.augmentation.mirror = true;
    assert!(told(augmented).contains("nothing to mirror"));

    run(&mut trainer(data, TrainerOptions { epochs: 1, ..base() }).unwrap());
    assert!(told(base()).contains("holds a run already"));
    let other = told(TrainerOptions { resume: true, batch: 16, seed: 3, ..base() });
    assert!(other.contains("batch-size was 32 and is 16 now; seed was 11 and is 3 now"), "{other}");
    std::fs::write(run_folder.join(files::LAST), b"broken").unwrap();
    assert!(told(TrainerOptions { resume: true, ..base() }).contains("damaged"));
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let Some(library) = library("a_loss_that_is_no_number_ends_the_run") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut options = TrainerOptions { learning_rate: LearningRate::constant(1e30), ..options(library) };
    options.step.optimizer = Optimizer::sgd();
    let mut trainer = trainer(folder.path(), options).unwrap();
    let error = trainer.run(|_| Flow::Continue).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { epoch: 1, .. }), "{error}");
    assert!(error.to_string().contains("smaller learning rate"), "{error}");
}

/// A folder with a model whose weights, but not its biases, lie in a file beside it, and data for it.
fn outside(folder: &Path) -> (Document, Vec<String>) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/external_data");
    for file in ["model.onnx", "external_data.bin"] {
        std::fs::copy(source.join(file), folder.join(file)).unwrap();
    }
    let document = Document::open(folder.join("model.onnx")).unwrap();
    let external = document.graph().initializers().iter().filter(|one| one.external().is_some());
    let names = external.map(|one| one.name().to_owned()).collect();
    (document, names)
}

#[test]
fn parameters_in_a_file_stay_in_a_file() {
    let Some(library) = library("parameters_in_a_file_stay_in_a_file") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (document, names) = outside(folder.path());
    assert_eq!(names, ["fc1.weight", "fc2.weight"]);
    let values = |document: &Document| -> Vec<Vec<f32>> {
        let tensors = document.graph().initializers().iter().map(|one| document.tensor(one).unwrap());
        tensors.map(|tensor| tensor.floats().unwrap()).collect()
    };
    let before = values(&document);
    // all of them, and with one that stays where it is
    for (freeze, trained) in [(None, [true; 4]), (Some("fc1.weight"), [false, true, true, true])] {
        let mut options = TrainerOptions { epochs: 2, ..options(library.clone()) };
        options.step.freeze = freeze.map(str::to_owned).into_iter().collect();
        let plan = Plan::new(&document, options).unwrap();
        let path = folder.path().join("trained.onnx");
        assert_eq!(plan.check_save(&path).unwrap(), Some(folder.path().join("trained.onnx.data")));
        let data = clusters(folder.path(), "train.csv", 2 * FEATURES, 100, 2);
        let samples = Samples::open(&Options { paths: vec![data], ..Options::default() }, plan.inputs()).unwrap();
        let mut trainer = plan.start(samples, None).unwrap();
        run(&mut trainer);
        let file = trainer.save_trained(&path, ExternalData::Copy).unwrap();
        assert_eq!(file, Some(folder.path().join("trained.onnx.data")));
        let saved = Document::open(&path).unwrap();
        for ((old, new), trained) in
            document.graph().initializers().iter().zip(saved.graph().initializers()).zip(trained)
        {
            assert_eq!((old.name(), old.dims()), (new.name(), new.dims()));
            let place = |one: &Initializer| one.external().map(|reference| reference.location.clone());
            let moved = old.external().filter(|_| trained).map(|_| "trained.onnx.data".into());
            assert_eq!(place(new), moved.or(place(old)), "{}", old.name());
        }
        let after = values(&saved);
        assert_eq!(after, values(&trainer.trained().unwrap()));
        assert_eq!(before.iter().zip(&after).map(|(old, new)| old != new).collect::<Vec<_>>(), trained);
        assert_eq!(values(&document), before);
    }
}
