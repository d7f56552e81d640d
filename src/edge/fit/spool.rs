//! Rows of numbers, more than memory holds.

use std::io::{Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

use crate::edge::CalibrationError;

/// Kept in memory up to here.
const IN_MEMORY: usize = 64 << 20;
/// Numbers that are read at once, about.
const BLOCK: usize = 1 << 16;

/// Rows of f32, all as wide. In memory while they are few, then in a temporary file that has no name.
#[derive(Debug)]
pub(crate) struct Spool {
    file: SpooledTempFile,
    width: usize,
    rows: usize,
    bytes: Vec<u8>,
}

impl Spool {
    pub(crate) fn new(width: usize) -> Self {
        Self::with_memory(width, IN_MEMORY)
    }

    fn with_memory(width: usize, memory: usize) -> Self {
        Self { file: SpooledTempFile::new(memory), width, rows: 0, bytes: Vec::new() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Appends whole rows.
    pub(crate) fn push(&mut self, values: &[f32]) -> Result<(), CalibrationError> {
        if self.width == 0 {
            return Ok(());
        }
        debug_assert_eq!(values.len() % self.width, 0);
        self.bytes.clear();
        self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.file.write_all(&self.bytes).map_err(CalibrationError::Spool)?;
        self.rows += values.len() / self.width;
        Ok(())
    }

    /// Calls `take` with blocks of rows: the index of the first, and their values.
    pub(crate) fn blocks(&mut self, mut take: impl FnMut(usize, &[f32])) -> Result<(), CalibrationError> {
        if self.width == 0 {
            return Ok(());
        }
        self.rewind()?;
        let step = (BLOCK / self.width).max(1);
        let mut values = Vec::new();
        for first in (0..self.rows).step_by(step) {
            self.read(step.min(self.rows - first), &mut values)?;
            take(first, &values);
        }
        self.forward()
    }

    /// Calls `take` with blocks of the same rows of two spools; those of `other` are empty where it has no width.
    pub(crate) fn zip(
        &mut self,
        other: &mut Self,
        mut take: impl FnMut(usize, &[f32], &[f32]),
    ) -> Result<(), CalibrationError> {
        self.rewind()?;
        other.rewind()?;
        let step = (BLOCK / self.width.max(other.width).max(1)).max(1);
        let (mut values, mut others) = (Vec::new(), Vec::new());
        for first in (0..self.rows).step_by(step) {
            let rows = step.min(self.rows - first);
            self.read(rows, &mut values)?;
            other.read(rows, &mut others)?;
            take(first, &values, &others);
        }
        self.forward()?;
        other.forward()
    }

    fn rewind(&mut self) -> Result<(), CalibrationError> {
        self.file.seek(SeekFrom::Start(0)).map_err(CalibrationError::Spool).map(drop)
    }

    /// To where rows are appended.
    fn forward(&mut self) -> Result<(), CalibrationError> {
        self.file.seek(SeekFrom::End(0)).map_err(CalibrationError::Spool).map(drop)
    }

    /// The next rows.
    fn read(&mut self, rows: usize, values: &mut Vec<f32>) -> Result<(), CalibrationError> {
        self.bytes.resize(rows * self.width * size_of::<f32>(), 0);
        self.file.read_exact(&mut self.bytes).map_err(CalibrationError::Spool)?;
        values.clear();
        values.extend(self.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        Ok(())
    }

    /// Calls `take` with each row and its index.
    pub(crate) fn each(&mut self, mut take: impl FnMut(usize, &[f32])) -> Result<(), CalibrationError> {
        let width = self.width.max(1);
        self.blocks(|first, values| {
            values.chunks_exact(width).enumerate().for_each(|(at, row)| take(first + at, row));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_from_memory_and_from_the_disk() {
        for memory in [0, 1 << 30] {
            let mut spool = Spool::with_memory(3, memory);
            for start in 0..4u16 {
                let rows: Vec<f32> = (0..30_000).map(|i| f32::from(start) + i as f32).collect();
                spool.push(&rows).unwrap();
                // a pass in between does not disturb
                spool.each(|_, _| {}).unwrap();
            }
            assert_eq!((spool.rows(), spool.width()), (40_000, 3));
            let mut seen = 0;
            spool
                .each(|index, row| {
                    assert_eq!(index, seen);
                    seen += 1;
                    assert_eq!(row[1], (index / 10_000) as f32 + (index % 10_000 * 3 + 1) as f32);
                })
                .unwrap();
            assert_eq!(seen, 40_000);
        }
        let mut empty = Spool::new(0);
        empty.push(&[]).unwrap();
        empty.each(|_, _| panic!("no rows")).unwrap();
    }
}
