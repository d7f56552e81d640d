//! How raw samples become what a model was trained on.

use serde::{Deserialize, Serialize};

use super::DataError;

/// What is done to samples before the model sees them, in this order: resize, crop, channels, invert, scale, mean and
/// standard deviation, layout. As in torchvision: `Resize`, `CenterCrop`, `Grayscale`, `ToTensor`, `Normalize`.
///
/// What is not given follows from data and model: uint8 (uint16) samples of a float input are divided by 255 (65535),
/// floats are taken as they are; images are resized to the size that the model takes and get as many channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocessing {
    /// Factor on every value, of whatever type: 1/255 for bytes to 0…1, 1 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Subtracted after scaling: one number, or one per channel (per feature, where samples are flat).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// Divides what is left: one number, or one per channel (per feature).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// Size that images are brought to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// Size of the part in the middle that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Size>,
    /// How pixels are computed from others; bilinear by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Channels of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// Where the channel axis is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Black for white: 255 − x for bytes, 65535 − x for uint16, 1 − x for floats; before scaling.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub invert: bool,
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// How images change their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side becomes this long, the other follows (torchvision's `Resize(256)`).
    Shortest(u32),
    /// Both sides as given (torchvision's `Resize((height, width))`).
    Stretch(Size),
}

/// How pixels are computed from others; antialiased when images shrink, as Pillow does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// Linear in both directions.
    #[default]
    Bilinear,
    /// Cubic (Catmull-Rom, a = −0.5).
    Bicubic,
    /// Lanczos with window 3.
    Lanczos,
}

/// Channels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// One: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, as Pillow's mode L).
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red (OpenCV).
    Bgr,
}

impl Channels {
    /// How many.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::Rgb | Self::Bgr => 3,
        }
    }
}

/// Order of the axes of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Channels first (PyTorch).
    Nchw,
    /// Channels last (TensorFlow).
    Nhwc,
}

impl Preprocessing {
    /// From what calibration wrote into a model.
    ///
    /// # Errors
    /// JSON that is no preprocessing, with the reason.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, DataError> {
        Self::deserialize(value).map_err(|error| {
            DataError::Preprocessing(format!("the preprocessing kept in the model cannot be read: {error}"))
        })
    }

    /// For calibration to write into a model.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Numbers that make no sense are refused.
    ///
    /// # Errors
    /// Which, and why.
    pub fn check(&self) -> Result<(), DataError> {
        let wrong = |what: String| Err(DataError::Preprocessing(what));
        if let Some(scale) = self.scale.filter(|scale| !scale.is_finite() || *scale == 0.0) {
            return wrong(format!("a scale of {scale} leaves nothing of the samples; 1 leaves them as they are"));
        }
        if let Some(mean) = self.mean.iter().flatten().find(|mean| !mean.is_finite()) {
            return wrong(format!("{mean} is no mean"));
        }
        if let Some(std) = self.std.iter().flatten().find(|std| !std.is_finite() || **std <= 0.0) {
            return wrong(format!("a standard deviation is above 0, not {std}"));
        }
        if self.mean.as_ref().is_some_and(Vec::is_empty) || self.std.as_ref().is_some_and(Vec::is_empty) {
            return wrong("mean and std hold one number, or one per channel".to_owned());
        }
        if let (Some(mean), Some(std)) = (&self.mean, &self.std)
            && mean.len() != std.len()
            && mean.len() != 1
            && std.len() != 1
        {
            return wrong(format!("mean has {} numbers and std {}; both have one per channel", mean.len(), std.len()));
        }
        let sides = [
            self.resize.map(|resize| match resize {
                Resize::Shortest(side) => [side, side],
                Resize::Stretch(size) => [size.width, size.height],
            }),
            self.crop.map(|size| [size.width, size.height]),
        ];
        if let Some(side) = sides.into_iter().flatten().flatten().find(|side| !(1..=MAX_SIDE).contains(side)) {
            return wrong(format!("images have sides of 1 to {MAX_SIDE} pixels, not {side}"));
        }
        Ok(())
    }
}

/// Longest side of an image that is made.
const MAX_SIDE: u32 = 16_384;

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// "224" (a square) or "320x240" (width, height).
impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let side = |text: &str| text.parse().map_err(|_| format!("'{text}' is no number of pixels"));
        match text.split_once(['x', 'X']) {
            Some((width, height)) => Ok(Self { width: side(width)?, height: side(height)? }),
            None => side(text).map(|side| Self { width: side, height: side }),
        }
    }
}

impl std::fmt::Display for Resize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shortest(side) => side.fmt(f),
            Self::Stretch(size) => size.fmt(f),
        }
    }
}

/// "256" (the shorter side) or "320x240" (width, height).
impl std::str::FromStr for Resize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size: Size = text.parse()?;
        Ok(if text.contains(['x', 'X']) { Self::Stretch(size) } else { Self::Shortest(size.width) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_in_a_model_comes_back() {
        let all = Preprocessing {
            scale: Some(1.0 / 255.0),
            mean: Some(vec![0.485, 0.456, 0.406]),
            std: Some(vec![0.229, 0.224, 0.225]),
            resize: Some(Resize::Shortest(256)),
            crop: Some(Size { width: 224, height: 224 }),
            filter: Some(Filter::Bicubic),
            channels: Some(Channels::Bgr),
            layout: Some(Layout::Nhwc),
            invert: true,
        };
        let json = all.to_json();
        assert_eq!(json["resize"]["shortest"], 256);
        assert_eq!(Preprocessing::from_json(&json).unwrap(), all);
        assert_eq!(Preprocessing::default().to_json(), serde_json::json!({}));
        let text = Preprocessing::from_json(&serde_json::json!({ "scael": 1 })).unwrap_err().to_string();
        assert!(text.contains("scael"), "{text}");
    }

    #[test]
    fn sizes() {
        assert_eq!("256".parse(), Ok(Resize::Shortest(256)));
        assert_eq!("320x240".parse(), Ok(Resize::Stretch(Size { width: 320, height: 240 })));
        assert_eq!("224".parse(), Ok(Size { width: 224, height: 224 }));
        assert!("big".parse::<Size>().is_err());
    }

    #[test]
    fn numbers_that_make_no_sense() {
        let refused = |p: Preprocessing| p.check().unwrap_err().to_string();
        assert!(refused(Preprocessing { scale: Some(0.0), ..Default::default() }).contains("leaves nothing"));
        assert!(refused(Preprocessing { std: Some(vec![0.0]), ..Default::default() }).contains("above 0"));
        let uneven = Preprocessing { mean: Some(vec![0.0; 3]), std: Some(vec![1.0; 2]), ..Default::default() };
        assert!(refused(uneven).contains("mean has 3"));
        let large = Preprocessing { resize: Some(Resize::Shortest(1 << 20)), ..Default::default() };
        assert!(refused(large).contains("16384"));
    }
}
