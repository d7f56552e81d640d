//! Which accesses to memory are ordered: what happened before the last barrier that two threads both came to.
//!
//! Time counts synchronisations. A thread has seen what another did up to some time: all threads of a block that of the
//! last barrier, all lanes of a warp that of the warp's last `bar.warp.sync`. Only where a barrier takes in some threads
//! and not others is a table needed of who has seen whom; the next barrier of the whole block drops it.

/// When an access happened and who did it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

const THREAD_BITS: u32 = 11;
const STRONG: u64 = 1 << 10;

impl Stamp {
    fn new(time: u64, thread: u32, strong: bool) -> Stamp {
        Stamp(time << THREAD_BITS | u64::from(thread) | if strong { STRONG } else { 0 })
    }

    pub(crate) fn time(self) -> u64 {
        self.0 >> THREAD_BITS
    }

    /// The thread's number in its block.
    pub(crate) fn thread(self) -> u32 {
        self.0 as u32 & 0x3ff
    }

    /// Atomic or volatile: ordered against others of its kind.
    pub(crate) fn is_strong(self) -> bool {
        self.0 & STRONG != 0
    }
}

/// The time, and what each thread of the running block has seen.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    now: u64,
    launch_start: u64,
    /// When each block that has run began; the last is running.
    blocks: Vec<(u64, [u32; 3])>,
    block_start: u64,
    /// What happened up to then is known to all threads of the block.
    block_seen: u64,
    /// As far as all lanes of a warp have seen each other.
    warp_seen: Vec<u64>,
    /// `seen[a * threads + b]`: as far as thread `a` has seen `b`. Empty while the above tell it all.
    seen: Vec<u64>,
    threads: usize,
}

impl Clock {
    /// Everything until now has happened before the launch.
    pub(crate) fn begin_launch(&mut self) {
        self.now += 1;
        self.launch_start = self.now;
        self.blocks.clear();
    }

    pub(crate) fn begin_block(&mut self, block: [u32; 3], threads: usize) {
        self.block_start = self.now;
        self.block_seen = self.now;
        self.now += 1;
        self.blocks.push((self.now, block));
        self.threads = threads;
        self.warp_seen.clear();
        self.warp_seen.resize(threads.div_ceil(32), self.block_start);
        self.seen.clear();
    }

    pub(crate) fn launch_start(&self) -> u64 {
        self.launch_start
    }

    pub(crate) fn block_start(&self) -> u64 {
        self.block_start
    }

    /// For an access that happens now.
    #[inline]
    pub(crate) fn stamp(&self, thread: u32, strong: bool) -> Stamp {
        Stamp::new(self.now, thread, strong)
    }

    /// Whether `thread` comes after an access of its own block.
    #[inline]
    pub(crate) fn has_seen(&self, thread: u32, access: Stamp) -> bool {
        let (time, other) = (access.time(), access.thread());
        time <= self.block_seen
            || other == thread
            || (other / 32 == thread / 32 && time <= self.warp_seen[thread as usize / 32])
            || (!self.seen.is_empty() && time <= self.seen[thread as usize * self.threads + other as usize])
    }

    /// Whether the access was of a block that ran before in this launch.
    #[inline]
    pub(crate) fn is_of_other_block(&self, access: Stamp) -> bool {
        access.time() <= self.block_start
    }

    /// The block whose access it was.
    pub(crate) fn block_of(&self, access: Stamp) -> [u32; 3] {
        let next = self.blocks.partition_point(|(start, _)| *start <= access.time());
        next.checked_sub(1).map_or([0; 3], |place| self.blocks[place].1)
    }

    /// All threads of the block came together.
    pub(crate) fn synchronize_block(&mut self) {
        self.block_seen = self.now;
        self.now += 1;
        self.seen.clear();
    }

    /// These lanes of a warp came together. `all` of the lanes there are may be more.
    pub(crate) fn synchronize_lanes(&mut self, warp: usize, lanes: u32, all: u32) {
        if lanes == all && self.seen.is_empty() {
            self.warp_seen[warp] = self.now;
            self.now += 1;
        } else {
            let threads = (0..32).filter(|lane| lanes >> lane & 1 == 1).map(|lane| warp * 32 + lane);
            self.synchronize_threads(&threads.collect::<Vec<_>>());
        }
    }

    /// These threads came together: each has now seen what any of them had.
    pub(crate) fn synchronize_threads(&mut self, threads: &[usize]) {
        if self.seen.is_empty() {
            self.fill_table();
        }
        let mut joined = vec![0; self.threads];
        for &thread in threads {
            let row = &self.seen[thread * self.threads..][..self.threads];
            joined.iter_mut().zip(row).for_each(|(most, seen)| *most = (*most).max(*seen));
        }
        for &thread in threads {
            joined[thread] = self.now;
        }
        for &thread in threads {
            self.seen[thread * self.threads..][..self.threads].copy_from_slice(&joined);
        }
        self.now += 1;
    }

    fn fill_table(&mut self) {
        let threads = self.threads;
        self.seen = vec![self.block_seen; threads * threads];
        for thread in 0..threads {
            let warp = thread / 32;
            let lanes = warp * 32..(warp * 32 + 32).min(threads);
            let seen = self.warp_seen[warp].max(self.block_seen);
            self.seen[thread * threads..][lanes].fill(seen);
        }
    }
}
