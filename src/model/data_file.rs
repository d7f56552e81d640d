//! A model whose new data goes into a file beside it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::document::Document;
use super::error::ModelError;
use super::external::{self, ExternalData, ExternalReference};
use super::write::{self, Staged};

/// Tensors begin at multiples of this, as the ONNX specification recommends so that they can be mapped.
const ALIGNMENT: u64 = 4096;

impl Document {
    /// Writes the model as [`Self::save`] does, with new elements for initializers whose data is external: raw,
    /// little-endian, all of them in one data file beside the model, `model.onnx.data` for `model.onnx`. Of the model
    /// itself only their references change; what else is external is treated as by [`Self::save`]. The model's own data
    /// files are never written to: if one has that name, the new one becomes `model.onnx.1.data`, and so on.
    ///
    /// Gives the data file; None where `data` is empty, so that there is none. Both files are whole on the disk before
    /// either gets its name. A process that is killed between the two leaves the data without the model: an old model that
    /// was to be replaced is taken away first, since it would be read with the new data.
    ///
    /// # Errors
    /// As [`Self::save`]; also for a name that is no initializer, or one whose data is not external.
    pub fn save_with_data(
        &self,
        path: impl AsRef<Path>,
        data: &BTreeMap<String, Bytes>,
        external: ExternalData,
    ) -> Result<Option<PathBuf>, ModelError> {
        let path = path.as_ref();
        if data.is_empty() {
            return self.save(path, external).map(|()| None);
        }
        let Plan { kept, file } = self.plan(path, &|name| data.contains_key(name))?;
        let (document, offsets) = self.pointing_to(&file, data)?;
        let carried = external::carry(&kept, self.path(), path, external)?;
        let content = stage_data(&file, &offsets, data)?;
        let model = document.stage(path)?;
        if file.exists() && path.exists() {
            let old = path.canonicalize().map_err(|error| ModelError::io("find", path, error))?;
            std::fs::remove_file(&old).map_err(|error| ModelError::io("replace", &old, error))?;
        }
        content.commit()?;
        model.commit()?;
        carried.keep();
        Ok(Some(file))
    }

    /// Whether [`Self::save_with_data`] would refuse `path` with data for the initializers that `is_new` tells, without
    /// writing anything; gives the data file that it would write, or replace.
    ///
    /// # Errors
    /// Those of [`Self::save`].
    pub fn check_save_with_data(
        &self,
        path: impl AsRef<Path>,
        is_new: impl Fn(&str) -> bool,
    ) -> Result<Option<PathBuf>, ModelError> {
        let path = path.as_ref();
        let mut initializers = self.graph().initializers().iter();
        if !initializers.any(|initializer| initializer.external().is_some() && is_new(initializer.name())) {
            return self.check_save(path).map(|()| None);
        }
        self.plan(path, &is_new).map(|plan| Some(plan.file))
    }

    fn plan(&self, path: &Path, is_new: &dyn Fn(&str) -> bool) -> Result<Plan, ModelError> {
        let references = self.external_references()?;
        let mut kept = references.clone();
        for initializer in self.graph().initializers().iter().filter(|initializer| is_new(initializer.name())) {
            let at = kept.iter().position(|reference| Some(reference) == initializer.external());
            at.map(|at| kept.remove(at));
        }
        let folder = external::folder_of(path);
        let places = |references: &[ExternalReference], folder: &Path| -> Vec<PathBuf> {
            references.iter().map(|reference| folder.join(&reference.location)).collect()
        };
        // files that are read, and those that will lie beside the new model
        let mut taken = self.path().map_or(Vec::new(), |source| places(&references, external::folder_of(source)));
        taken.extend(places(&kept, folder));
        let is_taken = |path: &Path| taken.iter().any(|taken| external::same_place(taken, path));
        if is_taken(path) {
            return Err(ModelError::ExternalConflict {
                path: path.to_owned(),
                reason: "is a data file of the model and cannot be the model itself",
            });
        }
        external::plan(&kept, self.path(), path)?;
        let ends = std::iter::once(".data".to_owned()).chain((1..).map(|count: u64| format!(".{count}.data")));
        let mut files = ends.map(|end| {
            let mut name = path.file_name().unwrap_or_default().to_os_string();
            name.push(end);
            path.with_file_name(name)
        });
        let file = files.find(|file| !is_taken(file)).unwrap_or_default();
        if file.file_name().and_then(|name| name.to_str()).is_none() {
            return Err(ModelError::ExternalConflict {
                path: file,
                reason: "has a name that is no UTF-8, so that no model can refer to it",
            });
        }
        Ok(Plan { kept, file })
    }

    /// The model with references to `file` for all of `data`, and where each of them begins, in the order of the
    /// initializers.
    fn pointing_to(
        &self,
        file: &Path,
        data: &BTreeMap<String, Bytes>,
    ) -> Result<(Self, Vec<(u64, String)>), ModelError> {
        let mut document = self.clone();
        let mut offsets = Vec::new();
        let mut end = 0u64;
        let location = PathBuf::from(file.file_name().unwrap_or_default());
        for initializer in self.graph().initializers() {
            let Some(bytes) = data.get(initializer.name()) else { continue };
            let (offset, length) = (end.next_multiple_of(ALIGNMENT), bytes.len() as u64);
            end = offset + length;
            let tensor = initializer.name().to_owned();
            offsets.push((offset, tensor.clone()));
            let reference = ExternalReference { tensor, location: location.clone(), offset, length: Some(length) };
            document.graph_mut().set_initializer_reference(&reference)?;
        }
        let known = |name: &String| offsets.iter().any(|(_, known)| known == name);
        match data.keys().find(|name| !known(name)) {
            Some(name) => Err(ModelError::no_initializer(name)),
            None => Ok((document, offsets)),
        }
    }
}

/// What is to be done for a path.
struct Plan {
    /// References that stay as they are.
    kept: Vec<ExternalReference>,
    /// The new data file.
    file: PathBuf,
}

fn stage_data(file: &Path, offsets: &[(u64, String)], data: &BTreeMap<String, Bytes>) -> Result<Staged, ModelError> {
    write::stage(file, |out| {
        let mut written = 0;
        for (offset, name) in offsets {
            let Some(bytes) = data.get(name) else { continue };
            std::io::copy(&mut std::io::repeat(0).take(offset.saturating_sub(written)), out)?;
            out.write_all(bytes)?;
            written = offset + bytes.len() as u64;
        }
        Ok(())
    })
}
