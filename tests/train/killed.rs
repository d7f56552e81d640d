//! kill -9 at any moment: the newest checkpoint is whole, and none that was completed is lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use elonnx::train::{Event, Flow, TrainerOptions};

use super::{library, options, trainer};

/// Names the folder that the other process works in.
const FOLDER: &str = "ELONNX_TEST_KILLED";
const ROUNDS: usize = 12;

fn endless(library: PathBuf, folder: &Path, resume: bool) -> TrainerOptions {
    TrainerOptions {
        epochs: 1_000_000,
        save_every: Some(1),
        run_folder: Some(folder.join("run")),
        resume,
        ..options(library)
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let test = "a_killed_run_goes_on_from_its_last_checkpoint";
    if let Some(folder) = std::env::var_os(FOLDER) {
        return work(Path::new(&folder));
    }
    let Some(library) = library(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut done = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&format!("killed::{test}"), "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let saved = |line: &String| line.strip_prefix("saved ")?.parse::<u64>().ok();
        let first = lines.find_map(|line| saved(&line));
        assert!(first.is_some(), "round {round}, seed {seed}: it saved nothing");
        std::thread::sleep(Duration::from_micros(random.u64(..40_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        let newest = lines.filter_map(|line| saved(&line)).last().or(first).unwrap();

        let resumed = trainer(folder.path(), endless(library.clone(), folder.path(), true));
        let resumed = resumed.unwrap_or_else(|error| panic!("round {round}, seed {seed}: {error}"));
        let (epochs, steps) = resumed.position();
        let there = epochs * resumed.steps_per_epoch() + steps;
        assert!(there >= newest, "round {round}, seed {seed}: step {newest} was saved, and {there} is there");
        assert!(there > done, "round {round}, seed {seed}: {there} steps after {done}");
        done = there;
    }
}

/// The other process: trains until it is killed, and says which steps are saved.
fn work(folder: &Path) {
    let Some(library) = library("work") else { return };
    let resume = folder.join("run/last.safetensors").exists();
    let mut trainer = trainer(folder, endless(library, folder, resume)).unwrap();
    let (mut step, steps) = (0, trainer.steps_per_epoch());
    let _ = trainer.run(|event| {
        match event {
            Event::Step { epoch, done, .. } => step = (epoch - 1) * steps + done,
            Event::Saved(_) => {
                let mut out = std::io::stdout().lock();
                if writeln!(out, "saved {step}").and_then(|()| out.flush()).is_err() {
                    return Flow::Stop;
                }
            }
            _ => {}
        }
        Flow::Continue
    });
}
