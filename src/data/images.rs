//! Pictures: files, a folder of them, or a folder with one for each class.

use std::path::{Path, PathBuf};

use super::array::BATCH_ELEMENTS;
use super::arrays::only;
use super::element::ElementType;
use super::fit::Fit;
use super::format::is_image_name;
use super::picture::{Picture, Target};
use super::source::{Options, Part};
use super::{Batch, DataError, InputSpec, Values};

/// Folders within folders are followed as deep as this.
const DEEPEST: usize = 16;

/// Names of files, and their classes where folders are classes.
type Files = (Vec<PathBuf>, Option<Vec<i64>>);

/// Samples from pictures, in the order of their names.
pub(super) struct Images {
    options: Options,
    input: InputSpec,
    target: Target,
    /// Folders to come, with the class of what is in them.
    folders: std::vec::IntoIter<(PathBuf, Option<i64>)>,
    files: std::vec::IntoIter<PathBuf>,
    class: Option<i64>,
    labelled: bool,
    /// Read, but of another size than those of the last batch.
    ahead: Option<(PathBuf, Picture)>,
    count: u64,
    done: u64,
    sentences: Vec<String>,
}

impl Images {
    /// Pictures by name.
    pub(super) fn files(paths: Vec<PathBuf>, options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        let name = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
        if paths.iter().any(|path| super::stream::is_stdin(path)) {
            let problem = "is an image; images are read from files and folders".to_owned();
            return Err(DataError::Unsupported { path: super::stream::name(&paths[0]), problem });
        }
        let count = paths.len() as u64;
        let mut images = Self::new(&name, options, inputs)?;
        (images.files, images.count) = (paths.into_iter(), count);
        Ok(images)
    }

    /// All pictures of a folder; where it has folders with pictures, they are the classes, as in torchvision's
    /// `ImageFolder`: numbered in the order of their names, or by their names where these are numbers.
    pub(super) fn folder(path: &Path, options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let mut images = Self::new(&name, options, inputs)?;
        let (folders, files) = list(path)?;
        let mut classes = Vec::new();
        for folder in folders {
            let count = count_images(&folder, 0)?;
            if count > 0 {
                images.count += count;
                classes.push(folder);
            }
        }
        let refuse = |problem: &str| Err(DataError::Folder { path: name.clone(), problem: problem.to_owned() });
        match (classes.is_empty(), files.is_empty()) {
            (true, true) => return refuse("holds no images; name files of other kinds themselves"),
            (false, false) => {
                return refuse(
                    "holds images beside folders of images; its folders are classes, so give each image one",
                );
            }
            (true, false) => {
                images.count = files.len() as u64;
                images.files = files.into_iter();
            }
            (false, true) => {
                let classes = number(classes);
                images.labelled = options.labels.is_none();
                if images.labelled {
                    images.sentences.push(describe_classes(&classes));
                }
                let numbered = classes.into_iter().map(|(folder, class)| (folder, Some(class)));
                images.folders = numbered.collect::<Vec<_>>().into_iter();
            }
        }
        Ok(images)
    }

    fn new(name: &str, options: &Options, inputs: &[InputSpec]) -> Result<Self, DataError> {
        let input = only(name, inputs)?;
        let target = Target::new(input, &options.preprocessing)?;
        // tells early what is wrong with scale, mean and std
        let fit = Fit::new(input, name, &target.dims(), ElementType::U8, &options.preprocessing)?;
        let sentences = std::iter::once(target.sentence()).chain(fit.sentences().iter().cloned()).collect();
        Ok(Self {
            options: options.clone(),
            input: input.clone(),
            target,
            folders: Vec::new().into_iter(),
            files: Vec::new().into_iter(),
            class: None,
            labelled: false,
            ahead: None,
            count: 0,
            done: 0,
            sentences,
        })
    }

    /// Names of the classes, where folders are classes.
    pub(super) fn classes(&self) -> Vec<(i64, String)> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folders = self.folders.as_slice().iter();
        folders.filter_map(|(folder, class)| Some(((*class)?, name(folder)))).collect()
    }

    /// All files with their classes, where folders are classes; and what each becomes.
    pub(super) fn into_files(mut self) -> Result<(Files, Target), DataError> {
        let (mut files, mut classes) = (Vec::new(), Vec::new());
        while let Some(file) = self.next_file()? {
            files.push(file);
            classes.extend(self.class);
        }
        Ok(((files, self.labelled.then_some(classes)), self.target))
    }

    /// The next picture, of the same class as the one before unless a new folder begins.
    fn next_file(&mut self) -> Result<Option<PathBuf>, DataError> {
        loop {
            if let Some(file) = self.files.next() {
                return Ok(Some(file));
            }
            let Some((folder, class)) = self.folders.next() else { return Ok(None) };
            let mut files = Vec::new();
            collect_images(&folder, 0, &mut files)?;
            (self.files, self.class) = (files.into_iter(), class);
        }
    }
}

impl Part for Images {
    fn next(&mut self, rows: usize) -> Result<Option<Batch>, DataError> {
        let mut dims: Option<Vec<usize>> = None;
        let mut bytes = Vec::new();
        let mut names = Vec::new();
        let mut labels = Vec::new();
        let exact = self.input.dims.first().is_some_and(Option::is_some);
        while names.len() < rows && (exact || bytes.len() < BATCH_ELEMENTS) {
            let (file, picture) = match self.ahead.take() {
                Some(ahead) => ahead,
                None => match self.next_file()? {
                    Some(file) => {
                        let picture = self.target.read(&file)?;
                        (file, picture)
                    }
                    None => break,
                },
            };
            if dims.as_ref().is_some_and(|dims| *dims != picture.dims) {
                self.ahead = Some((file, picture));
                break;
            }
            bytes.extend_from_slice(&picture.bytes);
            dims = Some(picture.dims);
            names.push(file.display().to_string());
            labels.extend(self.class);
        }
        let Some(dims) = dims else { return Ok(None) };
        let fit = Fit::new(&self.input, &names[0], &dims, ElementType::U8, &self.options.preprocessing)?;
        let tensor = fit.apply(Values::U8(bytes), self.done)?;
        self.done += names.len() as u64;
        Ok(Some(Batch { inputs: vec![tensor], labels: self.labelled.then_some(labels), names: Some(names) }))
    }

    fn rows(&self) -> Option<u64> {
        Some(self.count)
    }

    fn labelled(&self) -> bool {
        self.labelled
    }

    fn named(&self) -> bool {
        true
    }

    fn sentences(&self) -> Vec<String> {
        self.sentences.clone()
    }
}

/// Folders and pictures in a folder, each sorted by name. Hidden ones don't count.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let failed = |source| DataError::Io { action: "read", path: folder.display().to_string(), source };
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if is_image_name(&path) {
            files.push(path);
        }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}

/// All pictures in a folder and those in it.
fn collect_images(folder: &Path, depth: usize, into: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let (folders, files) = list(folder)?;
    into.extend(files);
    if depth < DEEPEST {
        for folder in folders {
            collect_images(&folder, depth + 1, into)?;
        }
    }
    Ok(())
}

fn count_images(folder: &Path, depth: usize) -> Result<u64, DataError> {
    let (folders, files) = list(folder)?;
    let mut count = files.len() as u64;
    if depth < DEEPEST {
        for folder in folders {
            count += count_images(&folder, depth + 1)?;
        }
    }
    Ok(count)
}

/// Class of each folder: its name where all names are numbers, else its place.
fn number(folders: Vec<PathBuf>) -> Vec<(PathBuf, i64)> {
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse().ok().filter(|&class: &i64| class >= 0);
    if let Some(numbers) = folders.iter().map(number).collect::<Option<Vec<i64>>>() {
        let mut numbered: Vec<_> = folders.into_iter().zip(numbers).collect();
        numbered.sort_by_key(|&(_, class)| class);
        return numbered;
    }
    folders.into_iter().zip(0..).collect()
}

/// "classes by folder: 0 is cat, 1 is dog".
fn describe_classes(classes: &[(PathBuf, i64)]) -> String {
    const SHOWN: usize = 12;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut shown: Vec<String> =
        classes.iter().take(SHOWN).map(|(path, class)| format!("{class} is {}", name(path))).collect();
    if classes.len() > SHOWN {
        shown.push(format!("and {} more", classes.len() - SHOWN));
    }
    format!("classes by folder: {}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::{Files, all, floats, of, opened, refusal};

    fn png(files: &Files, name: &str, width: u32, height: u32, value: u8) -> PathBuf {
        let path = files.write(name, b"");
        image::GrayImage::from_pixel(width, height, image::Luma([value])).save(&path).unwrap();
        path
    }

    #[test]
    fn a_folder_per_class() {
        let files = Files::new();
        png(&files, "data/dog/b.png", 2, 2, 102);
        png(&files, "data/cat/z.png", 5, 4, 255);
        png(&files, "data/cat/sub/a.bmp", 2, 2, 0);
        files.write("data/cat/notes.txt", b"x");
        files.write("data/empty/notes.txt", b"x");
        let data = files.path().join("data");
        let source = opened(&of(&[data]), &floats(&[1, 2, 2]));
        assert_eq!((source.rows(), source.labelled(), source.named()), (Some(3), true, true));
        let sentences = source.describe().join("; ");
        for words in ["0 is cat, 1 is dog", "resized to 2x2 and made grey", "divided by 255"] {
            assert!(sentences.contains(words), "{sentences}");
        }
        let batches: Vec<Batch> = source.map(Result::unwrap).collect();
        assert_eq!(batches[0].labels, Some(vec![0, 0, 1]));
        let expected = [[1.0f32; 4], [0.0; 4], [0.4; 4]].concat();
        assert_eq!(batches[0].inputs[0].values, Values::F32(expected));
        let names = batches[0].names.as_ref().unwrap();
        assert!(names[0].ends_with("z.png") && names[1].ends_with("sub/a.bmp"), "{names:?}");
    }

    #[test]
    fn folders_named_by_numbers_are_those_classes() {
        let files = Files::new();
        for class in [2, 10] {
            png(&files, &format!("data/{class}/a.png"), 2, 2, 0);
        }
        let batches = all(&of(&[files.path().join("data")]), &floats(&[4]));
        assert_eq!(batches[0].labels, Some(vec![2, 10]));
    }

    #[test]
    fn files_of_any_size_for_a_model_of_any_size() {
        let files = Files::new();
        let paths = [png(&files, "a.png", 2, 3, 1), png(&files, "b.png", 2, 3, 2), png(&files, "c.png", 4, 4, 3)];
        let inputs = [InputSpec { dims: vec![None, Some(1), None, None], ..floats(&[1])[0].clone() }];
        let batches = all(&of(&paths), &inputs);
        let dims: Vec<_> = batches.iter().map(|batch| batch.inputs[0].dims.clone()).collect();
        assert_eq!(dims, [vec![2, 1, 3, 2], vec![1, 1, 4, 4]]);
    }

    #[test]
    fn what_cannot_be_read() {
        let files = Files::new();
        std::fs::create_dir(files.path().join("none")).unwrap();
        assert!(refusal(&of(&[files.path().join("none")]), &floats(&[4])).contains("holds no images"));
        let whole = std::fs::read(png(&files, "mixed/a.png", 20, 20, 9)).unwrap();
        png(&files, "mixed/b/c.png", 2, 2, 9);
        assert!(refusal(&of(&[files.path().join("mixed")]), &floats(&[4])).contains("beside folders of images"));
        let cut = files.write("cut.png", &whole[..whole.len() - 20]);
        let text = refusal(&of(&[cut]), &floats(&[4]));
        assert!(text.contains("cut.png cannot be read as an image"), "{text}");
        let text = refusal(&of(&[files.write("text.jpg", b"hello, I am no image at all")]), &floats(&[4]));
        assert!(text.contains("text.jpg cannot be read as an image"), "{text}");
        // 30000 x 30000 pixels, all white, in a few bytes
        let bomb = [b"P4\n30000 30000\n".as_slice(), &[0; 64]].concat();
        let text = refusal(&of(&[files.write("bomb.pbm", &bomb)]), &floats(&[4]));
        assert!(text.contains("more than 16384 pixels on a side"), "{text}");
    }
}
