//! What a launch did, in numbers.

/// Counts over all threads of a launch.
///
/// Transactions are counted for the lanes that run an instruction together. With [`Order::Random`](crate::Order) lanes
/// run apart now and then, which a GPU doesn't do: compare them in the other orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Instructions, once for each thread that runs them.
    pub thread_instructions: u64,
    /// Instructions, once for all lanes that run them together.
    pub warp_instructions: u64,
    /// Bytes that threads loaded from global memory, `cp.async` among them.
    pub global_bytes_loaded: u64,
    /// Bytes that threads stored to global memory.
    pub global_bytes_stored: u64,
    /// Loads from global memory, one for each thread.
    pub global_loads: u64,
    /// Stores to global memory, one for each thread.
    pub global_stores: u64,
    /// Lines of 128 bytes that the loads of a warp's lanes touch, summed over the loads.
    pub global_load_transactions: u64,
    /// Lines of 128 bytes that the stores of a warp's lanes touch, summed over the stores.
    pub global_store_transactions: u64,
    /// Barriers of a whole block, once for each block.
    pub barriers: u64,
    /// Blocks that ran.
    pub blocks: u64,
}

/// The lines of 128 bytes that one instruction's lanes touch.
pub(crate) struct Lines {
    lines: [u64; 64],
    count: usize,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { lines: [0; 64], count: 0 }
    }
}

impl Lines {
    #[inline]
    pub(crate) fn add(&mut self, address: u64, size: u64) {
        let (first, last) = (address / 128, (address + size - 1) / 128);
        for line in first..=last {
            // neighbours mostly share a line
            let known = self.count > 0 && self.lines[self.count - 1] == line;
            if !known && !self.lines[..self.count].contains(&line) && self.count < self.lines.len() {
                self.lines[self.count] = line;
                self.count += 1;
            }
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count as u64
    }
}
