//! Handles: numbers that stand for contexts, streams, modules and so on, so that a wrong one is found out.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use crate::code::Code;
use crate::entry::{Outcome, lock};

/// What a handle stands for, and the context that it dies with (0: none).
struct Entry {
    owner: usize,
    object: Arc<dyn Any + Send + Sync>,
}

#[derive(Default)]
struct Table {
    made: usize,
    entries: HashMap<usize, Entry>,
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

/// The first handle; far from host and device memory, so that nothing else is taken for one.
const FIRST: usize = 0x5000_0000_0000;

/// Makes an object that has to know its own handle.
pub(crate) fn add<T: Any + Send + Sync>(owner: usize, make: impl FnOnce(usize) -> T) -> usize {
    let mut table = lock(&TABLE);
    table.made += 1;
    let handle = FIRST + table.made * 0x100;
    table.entries.insert(handle, Entry { owner, object: Arc::new(make(handle)) });
    handle
}

/// The same under a handle that stood for something before.
pub(crate) fn add_again<T: Any + Send + Sync>(handle: usize, make: impl FnOnce(usize) -> T) -> usize {
    lock(&TABLE).entries.insert(handle, Entry { owner: 0, object: Arc::new(make(handle)) });
    handle
}

/// The object of a handle.
///
/// # Errors
/// `CUDA_ERROR_INVALID_HANDLE` for what is no handle, or one of another kind.
pub(crate) fn get<T: Any + Send + Sync>(handle: usize) -> Outcome<Arc<T>> {
    let object = lock(&TABLE).entries.get(&handle).map(|entry| Arc::clone(&entry.object));
    object.and_then(|object| object.downcast().ok()).ok_or(Code::ERROR_INVALID_HANDLE)
}

/// Takes the object of a handle out.
pub(crate) fn remove<T: Any + Send + Sync>(handle: usize) -> Outcome<Arc<T>> {
    let object = get(handle)?;
    lock(&TABLE).entries.remove(&handle);
    Ok(object)
}

/// Takes out everything that belongs to a context.
pub(crate) fn remove_owned(owner: usize) {
    lock(&TABLE).entries.retain(|_, entry| entry.owner != owner);
}
