//! Options of every command that reads samples: `calibrate`, `score`, `evaluate`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueHint};

use crate::data::{Channels, Filter, Format, Layout, Options, Preprocessing, Resize, Size};

/// How samples are found and prepared. Preprocessing that is not given is taken from the calibration in the model.
#[derive(Clone, Debug, Default, Args)]
#[group(skip)]
pub struct DataArguments {
    /// File of labels, one whole number per sample: npy, npz, idx, text [default: those in or beside the data]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Data")]
    pub labels: Option<PathBuf>,
    /// Column of CSV files that holds the labels: its name, or its index from 0; -1 is the last [default: label]
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true, help_heading = "Data")]
    pub label_column: Option<String>,
    /// Array of npz files that holds the samples [default: named like the model's input, else x, images, data]
    #[arg(long, value_name = "NAME", help_heading = "Data")]
    pub array: Option<String>,
    /// Kind of the files [default: by their content and name]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser(), help_heading = "Data")]
    pub input_format: Option<Format>,
    /// Stop after this many samples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Data")]
    pub limit: Option<u64>,
    /// Samples per run of the model, at most [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536), help_heading = "Data")]
    pub batch: Option<u32>,

    /// Factor on every value, like 1/255; 1 leaves bytes as they are [default: 1/255 for uint8, 1 for floats]
    #[arg(long, value_name = "X", value_parser = scale, allow_negative_numbers = true, help_heading = "Preprocessing")]
    pub scale: Option<f64>,
    /// Subtracted after scaling: a number, or one per channel: 0.485,0.456,0.406
    #[arg(long, value_name = "X,…", value_delimiter = ',', allow_hyphen_values = true, help_heading = "Preprocessing")]
    pub mean: Option<Vec<f32>>,
    /// What is left is divided by this: a number, or one per channel
    #[arg(long, value_name = "X,…", value_delimiter = ',', allow_hyphen_values = true, help_heading = "Preprocessing")]
    pub std: Option<Vec<f32>>,
    /// Size of images: 256 is the shorter side, 224x224 both [default: the size that the model takes]
    #[arg(long, value_name = "SIZE", help_heading = "Preprocessing")]
    pub resize: Option<Resize>,
    /// Part in the middle of images to keep after resizing: 224, or WIDTHxHEIGHT
    #[arg(long, value_name = "SIZE", help_heading = "Preprocessing")]
    pub crop: Option<Size>,
    /// How images are resized [default: bilinear]
    #[arg(long, value_name = "FILTER", value_parser = filter_parser(), help_heading = "Preprocessing")]
    pub filter: Option<Filter>,
    /// Channels of images [default: grey for a model of 1 channel, rgb of 3]
    #[arg(long, value_name = "WHICH", value_parser = channels_parser(), help_heading = "Preprocessing")]
    pub channels: Option<Channels>,
    /// Order of a sample's axes, channels first or last [default: by the shape of the model's input]
    #[arg(long, value_name = "ORDER", value_parser = layout_parser(), help_heading = "Preprocessing")]
    pub layout: Option<Layout>,
    /// Swap black and white
    #[arg(long, help_heading = "Preprocessing")]
    pub invert: bool,
}

impl DataArguments {
    /// What to read from `paths`, with the preprocessing `stored` in the model where none is given here; and a sentence
    /// for every difference between the two, to be told to the user.
    ///
    /// # Errors
    /// Stored preprocessing that cannot be read, numbers that make no sense.
    pub fn options(
        &self,
        paths: &[PathBuf],
        stored: Option<&serde_json::Value>,
    ) -> anyhow::Result<(Options, Vec<String>)> {
        let stored = stored.map(Preprocessing::from_json).transpose()?;
        let mut notes = Vec::new();
        let preprocessing = self.preprocessing(stored.as_ref(), &mut notes);
        preprocessing.check()?;
        let default = Options::default();
        let options = Options {
            paths: paths.to_vec(),
            labels: self.labels.clone(),
            preprocessing,
            batch: self.batch.map_or(default.batch, |batch| batch as usize),
            format: self.input_format,
            array: self.array.clone(),
            label_column: self.label_column.clone(),
            limit: self.limit,
        };
        Ok((options, notes))
    }

    fn preprocessing(&self, stored: Option<&Preprocessing>, notes: &mut Vec<String>) -> Preprocessing {
        let calibrated = stored.is_some();
        let stored = stored.cloned().unwrap_or_default();
        macro_rules! choose {
            ($($field:ident),*) => {
                Preprocessing {
                    $($field: {
                        if calibrated && let Some(given) = &self.$field && stored.$field.as_ref() != Some(given) {
                            notes.push(differs(stringify!($field), &stored.$field, given));
                        }
                        self.$field.clone().or(stored.$field)
                    },)*
                    invert: {
                        if calibrated && self.invert && !stored.invert {
                            notes.push(differs("invert", &Some(false), &true));
                        }
                        self.invert || stored.invert
                    },
                }
            };
        }
        choose!(scale, mean, std, resize, crop, filter, channels, layout)
    }
}

fn differs<T: serde::Serialize>(option: &str, stored: &Option<T>, given: &T) -> String {
    let json = |value: &T| serde_json::to_string(value).unwrap_or_default();
    let stored = stored.as_ref().map_or("the default".to_owned(), json);
    format!(
        "the model was calibrated with {stored} for --{option}, not {}; its thresholds may not hold for samples prepared \
         in another way",
        json(given)
    )
}

/// "0.5" or "1/255".
fn scale(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| format!("'{text}' is not a number"));
    let value = match text.split_once('/') {
        Some((over, under)) => number(over)? / number(under)?,
        None => number(text)?,
    };
    if value.is_finite() && value != 0.0 { Ok(value) } else { Err("not a finite number other than 0".to_owned()) }
}

/// One of some words, each the serialised name of a value.
fn words<T: Copy + Send + Sync + 'static, const N: usize>(
    values: [(&'static str, T); N],
) -> impl clap::builder::TypedValueParser<Value = T> {
    PossibleValuesParser::new(values.map(|(word, _)| word)).try_map(move |text| {
        values.iter().find(|(word, _)| *word == text).map(|&(_, value)| value).ok_or("no such word")
    })
}

fn format_parser() -> impl clap::builder::TypedValueParser<Value = Format> {
    words(Format::ALL.map(|format| (format.as_str(), format)))
}

fn filter_parser() -> impl clap::builder::TypedValueParser<Value = Filter> {
    words([
        ("nearest", Filter::Nearest),
        ("bilinear", Filter::Bilinear),
        ("bicubic", Filter::Bicubic),
        ("lanczos", Filter::Lanczos),
    ])
}

fn channels_parser() -> impl clap::builder::TypedValueParser<Value = Channels> {
    words([("grey", Channels::Grey), ("rgb", Channels::Rgb), ("bgr", Channels::Bgr)])
}

fn layout_parser() -> impl clap::builder::TypedValueParser<Value = Layout> {
    words([("nchw", Layout::Nchw), ("nhwc", Layout::Nhwc)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::path::Path;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        data: DataArguments,
    }

    fn parse(line: &str) -> Result<DataArguments, clap::Error> {
        Line::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).map(|line| line.data)
    }

    fn taken(line: &str, stored: Option<serde_json::Value>) -> (Options, Vec<String>) {
        parse(line).unwrap().options(&["a.npy".into()], stored.as_ref()).unwrap()
    }

    #[test]
    fn every_option_arrives() {
        let line = "--labels y.npy --label-column -1 --array a --input-format csv --limit 7 --batch 3 --scale 1/255 \
                    --mean 0.5,-0.25 --std 2,4 --resize 256 --crop 224 --filter bicubic --channels bgr --layout nhwc \
                    --invert";
        let (options, notes) = taken(line, None);
        assert_eq!(notes, Vec::<String>::new());
        assert_eq!(options.paths, [Path::new("a.npy")]);
        assert_eq!(options.labels.as_deref(), Some(Path::new("y.npy")));
        assert_eq!((options.label_column.as_deref(), options.array.as_deref()), (Some("-1"), Some("a")));
        assert_eq!((options.format, options.limit, options.batch), (Some(Format::Csv), Some(7), 3));
        let expected = Preprocessing {
            scale: Some(1.0 / 255.0),
            mean: Some(vec![0.5, -0.25]),
            std: Some(vec![2.0, 4.0]),
            resize: Some(Resize::Shortest(256)),
            crop: Some(Size { width: 224, height: 224 }),
            filter: Some(Filter::Bicubic),
            channels: Some(Channels::Bgr),
            layout: Some(Layout::Nhwc),
            invert: true,
        };
        assert_eq!(options.preprocessing, expected);
    }

    #[test]
    fn what_the_model_keeps_is_the_default() {
        let stored = serde_json::json!({ "scale": 1.0, "mean": [0.5], "resize": { "shortest": 256 } });
        let (kept, notes) = taken("", Some(stored.clone()));
        assert_eq!((kept.preprocessing.to_json(), notes.len()), (stored.clone(), 0));
        let (changed, notes) = taken("--mean 0.25 --resize 256 --crop 224", Some(stored));
        assert_eq!(changed.preprocessing.mean, Some(vec![0.25]));
        assert_eq!(changed.preprocessing.scale, Some(1.0));
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("calibrated with [0.5] for --mean, not [0.25]"), "{notes:?}");
        assert!(notes[1].contains("the default for --crop"), "{notes:?}");
    }

    #[test]
    fn words_and_numbers_that_make_no_sense() {
        for (line, what) in [
            ("--scale 0", "other than 0"),
            ("--scale 1/0", "other than 0"),
            ("--scale much", "not a number"),
            ("--resize big", "no number of pixels"),
            ("--channels gray", "grey"),
            ("--batch 0", "1..="),
            ("--input-format jpg", "image"),
        ] {
            let text = parse(line).unwrap_err().to_string();
            assert!(text.contains(what), "{line}: {text}");
        }
        let error = parse("--std 0").unwrap().options(&[], None).unwrap_err().to_string();
        assert!(error.contains("above 0"), "{error}");
    }
}
