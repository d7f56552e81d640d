use super::*;
use crate::rewrite::optimizer::Optimizer;
use crate::train::{Decay, Growth};
use clap::Parser as _;

fn parse(line: &str) -> Result<Box<Arguments>, clap::Error> {
    let words = ["elonnx", "train", "m.onnx", "--data", "x.npz"].into_iter().chain(line.split_whitespace());
    match crate::cli::Cli::try_parse_from(words)?.command {
        crate::cli::Command::Train(arguments) => Ok(arguments),
        other => panic!("{other:?}"),
    }
}

fn options(line: &str) -> anyhow::Result<TrainerOptions> {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx_models/cross_entropy/network.onnx");
    parse(line).unwrap().options(&Document::open(model)?, "run".into())
}

#[test]
fn every_option_arrives() {
    let line = "--epochs 7 --batch-size 32 --seed 5 --threads 3 --patience 2 --best loss --freeze a,b* --optimizer sgd \
                --lr 0.5 --momentum 0.8 --nesterov --weight-decay 0.1 --lr-schedule cosine --lr-min 0.01 --warmup 0.5 \
                --bonus-schedule exp --bonus-exponent -3 --defer 1 --label-smoothing 0.1 --class-weights 1,2 --flip \
                --random-crop 2 --clip-norm 1 --drop-last --save-every 9";
    let options = options(line).unwrap();
    assert_eq!((options.epochs, options.batch, options.seed, options.threads), (7, 32, 5, 3));
    assert_eq!((options.patience, options.best, options.save_every), (Some(2), Best::Loss, Some(9)));
    assert_eq!(options.step.optimizer, Optimizer::Sgd { momentum: 0.8, nesterov: true, weight_decay: 0.1 });
    assert_eq!((options.learning_rate.base, options.learning_rate.warmup), (0.5, 0.5));
    assert_eq!(options.learning_rate.decay, Decay::Cosine { least: 0.01 });
    assert_eq!((options.bonus_growth, options.deferred_bonus), (Growth::Exponential(-3.0), 1));
    assert_eq!(options.class_weights, ClassWeights::Given(vec![1.0, 2.0]));
    assert_eq!(options.augmentation, Augmentation { mirror: true, padding: 2 });
    assert_eq!((options.step.clip_norm, options.drop_last), (Some(1.0), true));
    assert_eq!(options.step.freeze, ["a", "b*"]);
}

#[test]
fn what_does_not_go_together_is_told() {
    for (line, what) in [
        ("--momentum 0.5", "--momentum is nothing that adamw knows"),
        ("--optimizer sgd --beta1 0.5", "--beta1 is nothing that sgd knows"),
        ("--lr-min 0.1", "--lr-min means nothing to --lr-schedule constant"),
        ("--lr-schedule cosine --lr-min 1", "--lr-min must be from 0 to the learning rate"),
        ("--lr-schedule step --lr-factor 0", "--lr-factor must be above 0"),
        ("--bonus-exponent 2", "belongs to --bonus-schedule exp"),
        ("--beta1 2", "beta1"),
    ] {
        let text = options(line).unwrap_err().to_string();
        assert!(text.contains(what), "{line}: {text}");
    }
    for (line, what) in [
        ("--class-weights much", "neither 'balanced' nor a weight"),
        ("--epochs 0", "1..="),
        ("--resume --force", "cannot be used with"),
        ("--best f1", "accuracy, loss"),
    ] {
        let text = parse(line).unwrap_err().to_string();
        assert!(text.contains(what), "{line}: {text}");
    }
    assert!(parse("--batch 3").unwrap().data().unwrap_err().to_string().contains("--batch-size"));
}

#[test]
fn samples_held_back_are_a_number_or_a_share() {
    let parsed = |line: &str| parse(line).map(|arguments| arguments.val_split);
    assert_eq!(parsed("--val-split 5000").unwrap(), Some(HoldBack::Count(5000)));
    assert_eq!(parsed("--val-split 0.1").unwrap(), Some(HoldBack::Share(0.1)));
    assert!(parsed("--val-split 1.5").is_err() && parsed("--val-split 5 --val x").is_err());
}
