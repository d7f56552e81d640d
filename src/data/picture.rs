//! From an image file to pixels as a model takes them.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits, RgbImage};

use super::preprocessing::{Channels, Filter, Layout, Preprocessing, Resize, Size};
use super::shape::wanted_dims;
use super::{DataError, InputSpec};

/// Longest side of an image that is read.
const LONGEST_SIDE: u32 = 16_384;
/// Memory that decoding an image may take.
const MEMORY: u64 = 256 << 20;

/// What pictures have to become for an input.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// Channels.
    pub(super) channels: Channels,
    /// Before the crop.
    resize: Option<Resize>,
    /// After it.
    crop: Option<Size>,
    filter: Filter,
    layout: Layout,
    /// Axes of a sample: 1 (flat), 2 (no axis of channels) or 3.
    axes: usize,
}

/// Bytes of a picture, and the shape of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) dims: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl Target {
    /// By what the input takes and what the user says.
    pub(super) fn new(input: &InputSpec, wanted: &Preprocessing) -> Result<Self, DataError> {
        let refuse = |reason: String| Err(DataError::Preprocessing(reason));
        let dims = input.dims.get(1..).unwrap_or_default();
        let layout = wanted.layout.unwrap_or_else(|| layout_of(dims));
        let (axes, channels, fixed) = match (dims, layout) {
            (&[c, h, w], Layout::Nchw) | (&[h, w, c], Layout::Nhwc) => (3, c, h.zip(w)),
            (&[h, w], _) => (2, Some(1), h.zip(w)),
            (&[size], _) => {
                let square = size.and_then(|size| flat_square(size, wanted.channels));
                (1, square.map(|(c, _)| c), square.map(|(_, side)| (side, side)))
            }
            _ if input.dims.is_empty() => (3, None, None),
            _ => {
                let shape = wanted_dims(input);
                return refuse(format!("input '{}' takes samples of shape {shape}, which are no images", input.name));
            }
        };
        let channels = match (wanted.channels, channels) {
            (Some(given), Some(count)) if given.count() != count => {
                return refuse(format!(
                    "input '{}' takes {count} channels, and --channels gives {}",
                    input.name,
                    given.count()
                ));
            }
            (Some(given), _) => given,
            (None, Some(1)) => Channels::Grey,
            (None, Some(3) | None) => Channels::Rgb,
            (None, Some(count)) => {
                return refuse(format!("input '{}' takes {count} channels; images give 1 or 3", input.name));
            }
        };
        let side = |side: usize| u32::try_from(side).ok().filter(|side| *side <= LONGEST_SIDE);
        let fixed = match fixed {
            Some((height, width)) => match (side(width), side(height)) {
                (Some(width), Some(height)) => Some(Size { width, height }),
                _ => return refuse(format!("input '{}' takes samples too large for images", input.name)),
            },
            None => None,
        };
        let resize = wanted.resize.or(if wanted.crop.is_none() { fixed.map(Resize::Stretch) } else { None });
        let crop = wanted.crop.or(fixed.filter(|_| matches!(wanted.resize, Some(Resize::Shortest(_)))));
        let made = crop.or(match resize {
            Some(Resize::Stretch(size)) => Some(size),
            _ => None,
        });
        if let (Some(fixed), Some(made)) = (fixed, made)
            && fixed != made
            && axes != 1
        {
            return refuse(format!("input '{}' takes images of {fixed}, and resize and crop make {made}", input.name));
        }
        Ok(Self { channels, resize, crop, filter: wanted.filter.unwrap_or_default(), layout, axes })
    }

    /// Shape of a sample, with 1 for what only the pictures tell.
    pub(super) fn dims(&self) -> Vec<usize> {
        let size = match (self.crop, self.resize) {
            (Some(size), _) | (None, Some(Resize::Stretch(size))) => size,
            _ => Size { width: 1, height: 1 },
        };
        self.dims_of(size.width, size.height)
    }

    fn dims_of(&self, width: u32, height: u32) -> Vec<usize> {
        let (c, w, h) = (self.channels.count(), width as usize, height as usize);
        match (self.axes, self.layout) {
            (1, _) => vec![c * h * w],
            (2, _) => vec![h, w],
            (_, Layout::Nchw) => vec![c, h, w],
            (_, Layout::Nhwc) => vec![h, w, c],
        }
    }

    /// Where the channels of a sample lie.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// What is done to pictures.
    pub(super) fn sentence(&self) -> String {
        let size = match self.resize {
            Some(Resize::Shortest(side)) => format!("resized until their shorter side has {side} pixels"),
            Some(Resize::Stretch(size)) => format!("resized to {size}"),
            None => "taken in the size they have".to_owned(),
        };
        let crop = self.crop.map_or(String::new(), |size| format!(", cropped to {size} in the middle"));
        let channels = match self.channels {
            Channels::Grey => "grey",
            Channels::Rgb => "RGB",
            Channels::Bgr => "BGR",
        };
        format!("images are {size}{crop} and made {channels}")
    }

    /// Reads a picture.
    pub(super) fn read(&self, path: &Path) -> Result<Picture, DataError> {
        let failed = |problem: String| DataError::Image { path: path.display().to_string(), problem };
        let mut reader = ImageReader::open(path)
            .map_err(|error| super::stream::opening(path, error))?
            .with_guessed_format()
            .map_err(|error| DataError::reading(&path.display().to_string(), error))?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(LONGEST_SIDE);
        limits.max_image_height = Some(LONGEST_SIDE);
        limits.max_alloc = Some(MEMORY);
        reader.limits(limits);
        let image = reader.decode().map_err(|error| failed(explain(&error)))?;
        if image.width() == 0 || image.height() == 0 {
            return Err(failed("it has no pixels".to_owned()));
        }
        self.prepare(image).map_err(failed)
    }

    fn prepare(&self, image: DynamicImage) -> Result<Picture, String> {
        let grey = matches!(image, DynamicImage::ImageLuma8(_) | DynamicImage::ImageLuma16(_));
        // a grey picture keeps its bytes; the weights of grey would round them
        let image = if grey {
            DynamicImage::ImageLuma8(image.into_luma8())
        } else {
            DynamicImage::ImageRgb8(image.into_rgb8())
        };
        let image = self.crop(self.resize(image)?)?;
        let dims = self.dims_of(image.width(), image.height());
        let bytes = match (self.channels, image) {
            (Channels::Grey, DynamicImage::ImageLuma8(image)) => image.into_raw(),
            (Channels::Grey, image) => image.into_rgb8().pixels().map(|pixel| grey_of(pixel.0)).collect(),
            (channels, image) => self.interleave(&image.into_rgb8(), channels == Channels::Bgr),
        };
        Ok(Picture { dims, bytes })
    }

    fn resize(&self, image: DynamicImage) -> Result<DynamicImage, String> {
        let (width, height) = (image.width(), image.height());
        let size = match self.resize {
            None => return Ok(image),
            Some(Resize::Stretch(size)) => size,
            Some(Resize::Shortest(side)) => {
                // as torchvision rounds: down
                let long = u64::from(side) * u64::from(width.max(height)) / u64::from(width.min(height));
                let long = u32::try_from(long).ok().filter(|&long| long <= LONGEST_SIDE);
                let long = long.ok_or(format!("{width}x{height} is too narrow to be resized by its shorter side"))?;
                if width <= height { Size { width: side, height: long } } else { Size { width: long, height: side } }
            }
        };
        if (size.width, size.height) == (width, height) {
            return Ok(image);
        }
        let filter = match self.filter {
            Filter::Nearest => FilterType::Nearest,
            Filter::Bilinear => FilterType::Triangle,
            Filter::Bicubic => FilterType::CatmullRom,
            Filter::Lanczos => FilterType::Lanczos3,
        };
        Ok(image.resize_exact(size.width, size.height, filter))
    }

    fn crop(&self, image: DynamicImage) -> Result<DynamicImage, String> {
        let Some(size) = self.crop else { return Ok(image) };
        let (width, height) = (image.width(), image.height());
        if width < size.width || height < size.height {
            return Err(format!(
                "it has {width}x{height} pixels, and {size} are to be cropped from it; give --resize, too"
            ));
        }
        // as torchvision rounds: halves to even
        let middle = |all: u32, kept: u32| (f64::from(all - kept) / 2.0).round_ties_even() as u32;
        Ok(image.crop_imm(middle(width, size.width), middle(height, size.height), size.width, size.height))
    }

    /// Three channels in the layout of the model.
    fn interleave(&self, image: &RgbImage, bgr: bool) -> Vec<u8> {
        let order = if bgr { [2, 1, 0] } else { [0, 1, 2] };
        match self.layout {
            Layout::Nhwc => image.pixels().flat_map(|pixel| order.map(|channel| pixel.0[channel])).collect(),
            Layout::Nchw => {
                order.iter().flat_map(|&channel| image.pixels().map(move |pixel| pixel.0[channel])).collect()
            }
        }
    }
}

/// Channels last, where the last axis is as small as channels are and the first is not.
fn layout_of(dims: &[Option<usize>]) -> Layout {
    let channels = |dim: Option<usize>| matches!(dim, Some(1 | 3));
    match dims {
        &[first, _, last] if channels(last) && !channels(first) => Layout::Nhwc,
        _ => Layout::Nchw,
    }
}

/// Channels and side of the square picture that a flat sample is.
fn flat_square(size: usize, channels: Option<Channels>) -> Option<(usize, usize)> {
    let counts = channels.map_or(vec![1, 3], |channels| vec![channels.count()]);
    counts.into_iter().find_map(|count| {
        let side = (size / count).isqrt();
        (side > 0 && count * side * side == size).then_some((count, side))
    })
}

/// As Pillow's mode L: ITU-R BT.601, to the nearest.
fn grey_of([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

fn explain(error: &image::ImageError) -> String {
    match error {
        image::ImageError::Limits(_) => {
            format!(
                "it has more than {LONGEST_SIDE} pixels on a side, or takes more than {} MB to decode",
                MEMORY >> 20
            )
        }
        image::ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "it is truncated".to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::{floats, input};
    use crate::model::DataType;

    fn target(dims: &[usize], wanted: Preprocessing) -> Result<Target, String> {
        Target::new(&floats(dims)[0], &wanted).map_err(|error| error.to_string())
    }

    fn colours() -> DynamicImage {
        // 2 wide, 1 high: red, blue
        DynamicImage::ImageRgb8(RgbImage::from_raw(2, 1, vec![255, 0, 0, 0, 0, 255]).unwrap())
    }

    #[test]
    fn the_model_says_what_pictures_become() {
        let none = Preprocessing::default;
        assert_eq!(target(&[1, 28, 28], none()).unwrap().dims(), [1, 28, 28]);
        assert_eq!(target(&[3, 2, 2], none()).unwrap().dims(), [3, 2, 2]);
        assert_eq!(target(&[20, 30, 3], none()).unwrap().layout, Layout::Nhwc);
        assert_eq!(target(&[784], none()).unwrap().channels, Channels::Grey);
        assert_eq!(target(&[3072], none()).unwrap().sentence(), "images are resized to 32x32 and made RGB");
        let open = InputSpec { dims: vec![None, Some(3), None, None], ..input("x", DataType::Float, &[]) };
        let open = Target::new(&open, &none()).unwrap();
        assert_eq!((open.resize, open.crop), (None, None));
        assert!(target(&[2, 28, 28], none()).unwrap_err().contains("takes 2 channels"));
        assert!(target(&[1, 2, 3, 4], none()).unwrap_err().contains("no images"));
        let grey = Preprocessing { channels: Some(Channels::Grey), ..none() };
        assert!(target(&[3, 28, 28], grey).unwrap_err().contains("--channels gives 1"));
        let small = Preprocessing { crop: Some(Size { width: 8, height: 8 }), ..none() };
        assert!(
            target(&[3, 28, 28], small).unwrap_err().contains("takes images of 28x28, and resize and crop make 8x8")
        );
        let shortest = Preprocessing { resize: Some(Resize::Shortest(40)), ..none() };
        assert_eq!(target(&[3, 28, 28], shortest).unwrap().crop, Some(Size { width: 28, height: 28 }));
    }

    #[test]
    fn channels_in_every_order() {
        let bytes =
            |dims: &[usize], wanted: Preprocessing| target(dims, wanted).unwrap().prepare(colours()).unwrap().bytes;
        assert_eq!(bytes(&[3, 1, 2], Preprocessing::default()), [255, 0, 0, 0, 0, 255]);
        let bgr = Preprocessing { channels: Some(Channels::Bgr), layout: Some(Layout::Nhwc), ..Default::default() };
        assert_eq!(bytes(&[1, 2, 3], bgr), [0, 0, 255, 255, 0, 0]);
        assert_eq!(bytes(&[1, 1, 2], Preprocessing::default()), [76, 29]);
    }

    #[test]
    fn the_shorter_side_then_the_middle() {
        let wanted = Preprocessing {
            resize: Some(Resize::Shortest(4)),
            crop: Some(Size { width: 4, height: 4 }),
            ..Default::default()
        };
        let wide = DynamicImage::ImageLuma8(image::GrayImage::from_fn(16, 8, |x, _| image::Luma([x as u8 * 16])));
        let picture = target(&[1, 4, 4], wanted).unwrap().prepare(wide).unwrap();
        assert_eq!(picture.dims, [1, 4, 4]);
        assert!(picture.bytes[0] > 60 && picture.bytes[3] < 190, "{:?}", &picture.bytes[..4]);
        let narrow =
            target(&[1, 4, 4], Preprocessing { crop: Some(Size { width: 4, height: 4 }), ..Default::default() });
        assert!(narrow.unwrap().prepare(colours()).unwrap_err().contains("2x1 pixels"));
    }

    /// Pillow 13.0.0: `im.resize((5, 4), filter)` of an image of 13 x 9 pixels, and the first row of `im.convert('L')`.
    #[test]
    fn pixels_are_those_of_pillow() {
        let pixel =
            |x: u32, y: u32| [x * 37 + y * 11, x * x * 5 + y * 29, 255 - x * 17 - y * 3].map(|v| (v % 256) as u8);
        let image = DynamicImage::ImageRgb8(RgbImage::from_fn(13, 9, |x, y| image::Rgb(pixel(x, y))));
        let grey: Vec<u8> = (0..13).map(|x| grey_of(pixel(x, 0))).collect();
        assert_eq!(grey, [29, 41, 59, 83, 113, 148, 189, 160, 63, 122, 187, 107, 184]);
        for (filter, expected) in [
            (
                Filter::Bilinear,
                [
                    48, 34, 235, 133, 86, 196, 151, 151, 151, 73, 124, 106, 158, 138, 67, 70, 93, 228, 155, 144, 189,
                    150, 124, 144, 95, 130, 99, 180, 114, 60, 96, 159, 222, 178, 176, 183, 101, 112, 138, 121, 126, 93,
                    200, 127, 54, 118, 212, 215, 172, 137, 176, 78, 125, 131, 143, 121, 86, 166, 118, 47,
                ],
            ),
            (
                Filter::Bicubic,
                [
                    39, 25, 238, 140, 83, 196, 153, 157, 151, 62, 122, 106, 163, 142, 64, 63, 87, 232, 164, 150, 190,
                    152, 125, 145, 86, 129, 100, 188, 108, 58, 89, 159, 224, 189, 187, 182, 98, 105, 137, 112, 128, 92,
                    211, 126, 50, 117, 223, 218, 180, 130, 176, 66, 123, 131, 147, 121, 86, 165, 122, 44,
                ],
            ),
        ] {
            let wanted = Preprocessing {
                resize: Some(Resize::Stretch(Size { width: 5, height: 4 })),
                filter: Some(filter),
                ..Default::default()
            };
            let made = target(&[4, 5, 3], wanted).unwrap().prepare(image.clone()).unwrap().bytes;
            let far: Vec<_> = made.iter().zip(expected).filter(|(a, b)| a.abs_diff(*b) > 1).collect();
            assert!(made.len() == 60 && far.is_empty(), "{filter:?}: {far:?}");
        }
    }
}
