//! The calls of a device, for tests to read: one line each.

use std::fmt::Arguments;
use std::sync::Mutex;

use crate::entry::lock;

/// More than any test makes between two clearings; the oldest are dropped, so that a long run does not fill the memory.
const KEPT: usize = 100_000;

/// Calls in their order.
#[derive(Default)]
pub(crate) struct Calls(Mutex<Vec<String>>);

impl Calls {
    pub(crate) fn add(&self, call: Arguments<'_>) {
        let mut calls = lock(&self.0);
        if calls.len() == KEPT {
            calls.drain(..KEPT / 2);
        }
        calls.push(call.to_string());
    }

    pub(crate) fn text(&self) -> String {
        lock(&self.0).join("\n")
    }

    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }
}
