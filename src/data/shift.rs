//! Pictures moved and mirrored, as training does it.

use super::preprocessing::Layout;

/// What happens to a picture, before it is scaled: it is mirrored, then moved. What moves in is black (0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Left and right change sides.
    pub mirror: bool,
    /// Pixels to the right; to the left where negative.
    pub right: i32,
    /// Pixels down; up where negative.
    pub down: i32,
}

/// How the elements of a picture lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Planes of [height, width] that follow each other.
    planes: usize,
    height: usize,
    width: usize,
    /// Elements of a pixel that lie side by side.
    depth: usize,
}

impl Grid {
    /// By the shape of a sample; None where it is no picture. Without a layout the small axis holds the channels.
    pub(super) fn of(dims: &[usize], layout: Option<Layout>) -> Option<Self> {
        let few = |channels: usize| channels <= 4;
        match (dims, layout) {
            (&[height, width], _) => Some(Self { planes: 1, height, width, depth: 1 }),
            (&[planes, height, width], Some(Layout::Nchw)) => Some(Self { planes, height, width, depth: 1 }),
            (&[height, width, depth], Some(Layout::Nhwc)) => Some(Self { planes: 1, height, width, depth }),
            (&[planes, height, width], None) if few(planes) => Some(Self { planes, height, width, depth: 1 }),
            (&[height, width, depth], None) if few(depth) => Some(Self { planes: 1, height, width, depth }),
            _ => None,
        }
    }

    /// Appends a picture to `out`, moved; its elements have `size` bytes.
    pub(super) fn shifted(&self, picture: &[u8], size: usize, shift: Shift, out: &mut Vec<u8>) {
        let pixel = self.depth * size;
        let start = out.len();
        out.resize(start + picture.len(), 0);
        let Some(made) = out.get_mut(start..) else { return };
        let moved = |place: usize, by: i32, end: usize| {
            let from = i64::try_from(place).ok()? - i64::from(by);
            usize::try_from(from).ok().filter(|&from| from < end)
        };
        for plane in 0..self.planes {
            for y in 0..self.height {
                let Some(from_y) = moved(y, shift.down, self.height) else { continue };
                for x in 0..self.width {
                    let Some(from_x) = moved(x, shift.right, self.width) else { continue };
                    let from_x = if shift.mirror { self.width - 1 - from_x } else { from_x };
                    let place = |y: usize, x: usize| ((plane * self.height + y) * self.width + x) * pixel;
                    let (to, from) = (place(y, x), place(from_y, from_x));
                    if let (Some(to), Some(from)) = (made.get_mut(to..to + pixel), picture.get(from..from + pixel)) {
                        to.copy_from_slice(from);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shifted(dims: &[usize], picture: &[u8], size: usize, shift: Shift) -> Vec<u8> {
        let mut out = Vec::new();
        Grid::of(dims, None).unwrap().shifted(picture, size, shift, &mut out);
        out
    }

    #[test]
    fn a_picture_is_mirrored_then_moved() {
        let picture = [1, 2, 3, 4, 5, 6];
        let shift = |mirror, right, down| shifted(&[2, 3], &picture, 1, Shift { mirror, right, down });
        assert_eq!(shift(false, 0, 0), picture);
        assert_eq!(shift(true, 0, 0), [3, 2, 1, 6, 5, 4]);
        assert_eq!(shift(false, 1, 0), [0, 1, 2, 0, 4, 5]);
        assert_eq!(shift(true, -1, 1), [0, 0, 0, 2, 1, 0]);
        assert_eq!(shift(false, 9, -9), [0; 6]);
    }

    #[test]
    fn channels_and_wide_elements_stay_together() {
        let mirror = Shift { mirror: true, ..Shift::default() };
        assert_eq!(shifted(&[2, 1, 5], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 1, mirror), [5, 4, 3, 2, 1, 10, 9, 8, 7, 6]);
        assert_eq!(shifted(&[5, 2, 2], &(0..20).collect::<Vec<u8>>(), 1, mirror)[..4], [2, 3, 0, 1]);
        assert_eq!(shifted(&[1, 2], &[1, 2, 3, 4], 2, mirror), [3, 4, 1, 2]);
        assert_eq!(Grid::of(&[784], None), None);
        assert_eq!(Grid::of(&[9, 8, 7], None), None);
    }
}
