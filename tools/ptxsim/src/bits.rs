//! A bit for each byte of a memory.

/// A set of byte offsets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// For `bytes` bytes, none of them in the set.
    pub(crate) fn new(bytes: u64) -> Bits {
        Bits { words: vec![0; bytes.div_ceil(64) as usize] }
    }

    /// For `bytes` bytes, all of them in the set.
    pub(crate) fn full(bytes: u64) -> Bits {
        Bits { words: vec![u64::MAX; bytes.div_ceil(64) as usize] }
    }

    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    pub(crate) fn insert(&mut self, start: u64, length: u64) {
        for_each_word(start, length, |word, mask| self.words[word] |= mask);
    }

    pub(crate) fn remove(&mut self, start: u64, length: u64) {
        for_each_word(start, length, |word, mask| self.words[word] &= !mask);
    }

    /// Whether all of the bytes are in the set.
    #[inline]
    pub(crate) fn contains(&self, start: u64, length: u64) -> bool {
        let mut all = true;
        for_each_word(start, length, |word, mask| all &= self.words[word] & mask == mask);
        all
    }

    /// Whether one of the bytes is in the set.
    #[inline]
    pub(crate) fn intersects(&self, start: u64, length: u64) -> bool {
        let mut any = false;
        for_each_word(start, length, |word, mask| any |= self.words[word] & mask != 0);
        any
    }
}

#[inline(always)]
fn for_each_word(start: u64, length: u64, mut visit: impl FnMut(usize, u64)) {
    let mut at = start;
    let end = start + length;
    while at < end {
        let bit = at % 64;
        let count = (64 - bit).min(end - at);
        let mask = if count == 64 { u64::MAX } else { ((1 << count) - 1) << bit };
        visit((at / 64) as usize, mask);
        at += count;
    }
}
